-- ARGV: id, saga, version, fingerprint, owner, whether it has a start key, that, digest, deadline, content type, input; and its
-- trace, if it has one.
-- 1: it is stored, by this or an earlier try. Else the id and the digest of the instance that has its start key.
local id, saga, version, fingerprint, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local instance = T .. ':i:' .. id
if call('EXISTS', instance) == 1 then
  return 1
end
local start_key
if ARGV[6] == '1' then
  start_key = T .. ':key:' .. #saga .. ':' .. saga .. ':' .. ARGV[7]
  local other = call('GET', start_key)
  local digest = other and call('HGET', T .. ':i:' .. other, 'digest')
  if digest then
    return { other, digest }
  end
end
local fields = {
  'saga', saga, 'version', version, 'fingerprint', fingerprint, 'state', 'pending', 'pivot', '0', 'owner', owner,
  'epoch', owner == '' and '0' or '1', 'takeovers', '0', 'digest', ARGV[8], 'created', now_text, 'updated', now_text,
  'type', ARGV[10], 'input', ARGV[11],
}
if start_key then
  fields[#fields + 1] = 'key'
  fields[#fields + 1] = ARGV[7]
end
if ARGV[9] ~= '' then
  fields[#fields + 1] = 'deadline'
  fields[#fields + 1] = string.format('%.0f', now + ARGV[9])
end
if ARGV[12] then
  fields[#fields + 1] = 'trace'
  fields[#fields + 1] = ARGV[12]
end
-- The first write: the one that a full server refuses, and then nothing is written.
call('HSET', instance, unpack(fields))
if start_key then
  call('SET', start_key, id)
end
call('ZADD', T .. ':in:pending:' .. saga, '0', id)
if owner == '' then
  call('ZADD', T .. ':due:' .. version .. ':' .. saga, now_text, id)
else
  call('ZADD', T .. ':own:' .. owner, now_text, id)
  call('SADD', T .. ':owners', owner)
end
local field = version .. ':' .. #fingerprint .. ':' .. fingerprint .. ':' .. saga
if call('HINCRBY', T .. ':unfinished', field, '1') == 1 then
  call('SADD', T .. ':sagas', saga)
end
return 1
