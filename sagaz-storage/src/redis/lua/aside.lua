-- ARGV: id, owner, epoch, reason to be stuck. An instance that its owner cannot read.
local id, owner = ARGV[1], ARGV[2]
local instance = instance_of(id)
local old = call('HMGET', instance, 'owner', 'epoch', 'state', 'saga', 'version', 'takeovers', 'cancel')
if old[1] ~= owner or old[2] ~= ARGV[3] or not old[4] then
  return 0
end
call('HSET', instance, 'owner', '', 'epoch', text((tonumber(old[2]) or 0) + 1), 'state', 'stuck', 'stuck', ARGV[4], 'updated', now_text)
if owner ~= '' then
  disown(owner, id, old[7] == '1')
else
  call('ZREM', T .. ':due:' .. old[5] .. ':' .. old[4], id)
  call('ZREM', T .. ':tired:' .. old[5] .. ':' .. old[4], id)
end
move(old[4], id, old[3], 'stuck')
return 1
