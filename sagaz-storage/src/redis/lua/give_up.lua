-- ARGV: consumer, event, dead letter, attempts, the words of the error, whether it has a key, that, record, content type, data.
-- 0: the consumer has handled it, or given it up.
local consumer, id, letter = ARGV[1], ARGV[2], ARGV[3]
if call('ZSCORE', T .. ':handled', handled(consumer, id)) then
  return 0
end
record(consumer, id, letter)
die(letter, id, ARGV[6] == '1' and ARGV[7], ARGV[8], ARGV[9], ARGV[10], consumer, ARGV[4], ARGV[5], '0')
return 1
