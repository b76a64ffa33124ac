-- ARGV: a worker, its epoch, a place. How many events are behind it; -1 if the lane is not the worker's.
local outbox = call('HMGET', T .. ':outbox', 'owner', 'epoch')
if outbox[1] ~= ARGV[1] or outbox[2] ~= ARGV[2] then
  return -1
end
local after = '(' .. ARGV[3]
return call('ZCOUNT', T .. ':waiting', after, '+inf') + call('ZCOUNT', T .. ':blocking', after, '+inf')
