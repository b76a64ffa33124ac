-- ARGV: id. 'requested', 'pivot', the state that it ended in, or nothing if it is not there.
local id = ARGV[1]
local instance = instance_of(id)
local old = redis.call('HMGET', instance, 'state', 'pivot', 'owner', 'saga', 'version', 'takeovers')
if not old[1] then
  return ''
end
if not LIVE[old[1]] then
  return old[1]
end
if old[2] == '1' then
  return 'pivot'
end
redis.call('HSET', instance, 'cancel', '1', 'updated', text(now))
if old[3] == '' then
  redis.call('ZADD', due(old[5], old[4], old[6]), 'XX', 'LT', text(now), id)
else
  redis.call('SADD', T .. ':cancel:' .. old[3], id)
end
return 'requested'
