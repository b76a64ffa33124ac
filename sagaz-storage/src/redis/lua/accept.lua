-- ARGV: id, saga, version, fingerprint, owner, whether it has a start key, that, digest, deadline, content type, input.
-- 1: it is stored, by this or an earlier try. Else the id and the digest of the instance that has its start key.
local id, saga, version, fingerprint, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local instance = instance_of(id)
if redis.call('EXISTS', instance) == 1 then
  return 1
end
local start_key
if ARGV[6] == '1' then
  start_key = T .. ':key:' .. #saga .. ':' .. saga .. ':' .. ARGV[7]
  local other = redis.call('GET', start_key)
  local digest = other and redis.call('HGET', instance_of(other), 'digest')
  if digest then
    return { other, digest }
  end
end
local fields = {
  'saga', saga, 'version', version, 'fingerprint', fingerprint, 'state', 'pending', 'pivot', '0', 'owner', owner,
  'epoch', owner == '' and '0' or '1', 'takeovers', '0', 'digest', ARGV[8], 'created', text(now), 'updated', text(now),
  'type', ARGV[10], 'input', ARGV[11],
}
if start_key then
  fields[#fields + 1] = 'key'
  fields[#fields + 1] = ARGV[7]
end
if ARGV[9] ~= '' then
  fields[#fields + 1] = 'deadline'
  fields[#fields + 1] = text(now + ARGV[9])
end
-- The first write: the one that a full server refuses, and then nothing is written.
redis.call('HSET', instance, unpack(fields))
if start_key then
  redis.call('SET', start_key, id)
end
redis.call('ZADD', in_state('pending', saga), 0, id)
if owner == '' then
  redis.call('ZADD', due(version, saga, 0), text(now), id)
else
  own(owner, id)
end
if count_unfinished(saga, version, fingerprint, 1) == 1 then
  redis.call('SADD', T .. ':sagas', saga)
end
return 1
