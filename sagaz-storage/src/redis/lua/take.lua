-- ARGV: id, owner, epoch, takeovers, version, how many fields; not after; the new owner, version, fingerprint, takeovers, wake-up,
-- reason to be stuck.
-- Nothing if it has changed since it was looked at. Else the time, and if somebody owns it now, all fields.
local id, owner, engine = ARGV[1], ARGV[2], ARGV[8]
local instance = instance_of(id)
-- Whoever waits for this reply has given up by then, and looked at what it owns.
if now > tonumber(ARGV[7]) then
  return {}
end
local old = call('HMGET', instance, 'owner', 'epoch', 'takeovers', 'version', 'state', 'saga', 'fingerprint', 'cancel')
if old[1] ~= owner or old[2] ~= ARGV[3] or old[3] ~= ARGV[4] or old[4] ~= ARGV[5] or not is_live(old[5])
  or call('HLEN', instance) ~= tonumber(ARGV[6]) then
  return {}
end
local saga, is_cancelled = old[6], old[8] == '1'
local version, fingerprint, takeovers, stuck = ARGV[9], ARGV[10], ARGV[11], ARGV[13]
local fields = {
  'owner', engine, 'epoch', text(old[2] + 1), 'takeovers', takeovers, 'version', version, 'fingerprint', fingerprint,
  'updated', now_text,
}
if stuck ~= '' then
  fields[#fields + 1] = 'state'
  fields[#fields + 1] = 'stuck'
  fields[#fields + 1] = 'stuck'
  fields[#fields + 1] = stuck
end
call('HSET', instance, unpack(fields))
if owner == '' then
  call('ZREM', due(old[4], saga, old[3]), id)
else
  disown(owner, id, is_cancelled)
end
if old[4] ~= version or old[7] ~= fingerprint then
  count_unfinished(saga, version, fingerprint, 1)
  count_unfinished(saga, old[4], old[7], -1)
end
if stuck ~= '' then
  move(saga, id, old[5], 'stuck')
elseif engine == '' then
  call('ZADD', due(version, saga, takeovers), text(now + ARGV[12]), id)
else
  own(engine, id)
  if is_cancelled then
    call('SADD', T .. ':cancel:' .. engine, id)
  end
  return { now_text, call('HGETALL', instance) }
end
return { now_text }
