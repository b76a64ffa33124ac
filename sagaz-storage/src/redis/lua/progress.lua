-- ARGV: id, owner, epoch, try, state, whether the pivot is passed, failure, stuck, whether it is given up and as what (`no`, `live`,
-- `final`, `stuck`), wake-up, whether a step was stored, then the steps.
-- 0: the token is another one. 1: stored, by this or an earlier try. 2: so, and somebody asked to cancel it.
local id, owner, epoch, try, state = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local instance = T .. ':i:' .. id
local old = call('HMGET', instance, 'owner', 'epoch', 'state', 'takeovers', 'cancel', 'try', 'stuck')
if not old[2] then
  return 0
end
local stored = old[5] == '1' and 2 or 1
if old[1] ~= owner or old[2] ~= epoch then
  -- Only a write with this token can have given it up at this epoch: the repeat of a write whose reply was lost.
  if old[1] == '' and old[2] == epoch and epoch ~= '0' then
    return stored
  end
  return 0
end
local last = old[6]
if last == try then
  -- The client of a cluster repeats by itself what was under way on a connection that broke: this very try is stored.
  return stored
end
-- An earlier try that was held up on its way: what came after it is stored already, and nobody waits for this reply.
if last and string.sub(last, 1, 16) == string.sub(try, 1, 16) and string.sub(last, 17) > string.sub(try, 17) then
  return 0
end
local old_state, takeovers, given_up = old[3], old[4], ARGV[9]
local fields = { 'state', state, 'pivot', ARGV[6], 'updated', now_text, 'try', try }
local n = 8
if ARGV[7] ~= '' then
  fields[n + 1], fields[n + 2] = 'failure', ARGV[7]
  n = n + 2
end
if ARGV[8] ~= (old[7] or '') then
  fields[n + 1], fields[n + 2] = 'stuck', ARGV[8]
  n = n + 2
end
if ARGV[11] == '1' and takeovers ~= '0' then
  takeovers = '0'
  fields[n + 1], fields[n + 2] = 'takeovers', '0'
  n = n + 2
end
if given_up ~= 'no' then
  fields[n + 1], fields[n + 2] = 'owner', ''
  n = n + 2
end
-- The steps: name, record, wake-up, whether there is an output, its type, the output. A row is when it was written, when the step is
-- attempted again, and the record. An output, once stored, stays.
for at = 12, #ARGV, 6 do
  local name, wake = ARGV[at], ARGV[at + 2]
  if wake ~= '' then
    wake = string.format('%.0f', now + wake)
  end
  fields[n + 1], fields[n + 2] = 's:' .. name, now_text .. ' ' .. wake .. ' ' .. ARGV[at + 1]
  n = n + 2
  if ARGV[at + 3] == '1' then
    fields[n + 1], fields[n + 2] = 't:' .. name, ARGV[at + 4]
    fields[n + 3], fields[n + 4] = 'o:' .. name, ARGV[at + 5]
    n = n + 4
  end
end
-- The first write: the one that a full server refuses, and then nothing is written.
for first = 1, n, 2000 do
  -- In parts: Lua unpacks no more than some thousand values.
  call('HSET', instance, unpack(fields, first, math.min(first + 1999, n)))
end
if state == old_state and given_up == 'no' then
  return stored
end
local definition = call('HMGET', instance, 'saga', 'version', 'fingerprint')
local saga, version, fingerprint = definition[1], definition[2], definition[3]
if state ~= old_state then
  call('ZREM', T .. ':in:' .. old_state .. ':' .. saga, id)
  call('ZADD', T .. ':in:' .. state .. ':' .. saga, '0', id)
end
if given_up == 'no' then
  return stored
end
call('ZREM', T .. ':own:' .. owner, id)
if stored == 2 then
  call('SREM', T .. ':cancel:' .. owner, id)
end
if given_up == 'live' then
  local set = takeovers == '0' and ':due:' or ':tired:'
  call('ZADD', T .. set .. version .. ':' .. saga, string.format('%.0f', now + ARGV[10]), id)
elseif given_up == 'final' then
  local field = version .. ':' .. #fingerprint .. ':' .. fingerprint .. ':' .. saga
  if call('HINCRBY', T .. ':unfinished', field, '-1') <= 0 then
    call('HDEL', T .. ':unfinished', field)
  end
  call('ZADD', T .. ':ended', now_text, id)
end
return stored
