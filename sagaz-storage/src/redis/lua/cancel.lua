-- ARGV: id. 'requested', 'pivot', the state that it ended in, or nothing if it is not there.
local id = ARGV[1]
local instance = instance_of(id)
local old = call('HMGET', instance, 'state', 'pivot', 'owner', 'saga', 'version', 'takeovers')
if not old[1] then
  return ''
end
if not is_live(old[1]) then
  return old[1]
end
if old[2] == '1' then
  return 'pivot'
end
call('HSET', instance, 'cancel', '1', 'updated', now_text)
if old[3] == '' then
  call('ZADD', due(old[5], old[4], old[6]), 'XX', 'LT', now_text, id)
else
  call('SADD', T .. ':cancel:' .. old[3], id)
end
return 'requested'
