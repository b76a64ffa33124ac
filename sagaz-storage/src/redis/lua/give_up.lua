-- ARGV: consumer, event, dead letter, try, attempts, the words of the error, whether it has a key, that, record, content type, data.
-- 0: it is handled, or a dead letter already, or an earlier try comes late. 1: it is a dead letter.
local consumer, id, letter, try = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local last = call('HGET', T .. ':d:' .. letter, 'try')
if last and string.sub(last, 1, 16) == string.sub(try, 1, 16) and string.sub(last, 17) > string.sub(try, 17) then
  return 0
end
if call('ZSCORE', T .. ':handled', handled(consumer, id)) then
  return 0
end
record(consumer, id, letter)
die(letter, id, ARGV[7] == '1' and ARGV[8], ARGV[9], ARGV[10], ARGV[11], consumer, ARGV[5], ARGV[6], '0')
call('HSET', T .. ':d:' .. letter, 'try', try)
return 1
