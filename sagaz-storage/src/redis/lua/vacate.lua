-- ARGV: a worker. The lane of this partition is not its own any more.
if call('HGET', T .. ':outbox', 'owner') == ARGV[1] then
  call('HSET', T .. ':outbox', 'owner', '')
end
return 1
