-- ARGV: id, owner, epoch, try, state, whether the pivot is passed, failure, stuck, whether it is given up, wake-up, whether a step was
-- stored, then the steps.
-- 0: the token is another one. 1: stored, by this or an earlier try. 2: so, and somebody asked to cancel it.
local id, owner, epoch, try, state = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local instance = instance_of(id)
local old = redis.call('HMGET', instance, 'owner', 'epoch', 'state', 'saga', 'version', 'fingerprint', 'takeovers', 'cancel',
  'try', 'stuck')
if not old[2] then
  return 0
end
local is_cancelled = old[8] == '1'
if old[1] ~= owner or old[2] ~= epoch then
  -- Only a write with this token can have given it up at this epoch: the repeat of a write whose reply was lost.
  if old[1] == '' and old[2] == epoch and epoch ~= '0' then
    return is_cancelled and 2 or 1
  end
  return 0
end
-- An earlier try that was held up on its way: what came after it is stored already, and nobody waits for this reply.
if old[9] and string.sub(old[9], 1, 16) == string.sub(try, 1, 16) and string.sub(old[9], 17) >= string.sub(try, 17) then
  return 0
end
local saga, takeovers = old[4], old[7]
local fields = { 'state', state, 'pivot', ARGV[6], 'updated', text(now), 'try', try }
if ARGV[7] ~= '' then
  fields[#fields + 1] = 'failure'
  fields[#fields + 1] = ARGV[7]
end
if ARGV[8] ~= (old[10] or '') then
  fields[#fields + 1] = 'stuck'
  fields[#fields + 1] = ARGV[8]
end
if ARGV[11] == '1' and takeovers ~= '0' then
  takeovers = '0'
  fields[#fields + 1] = 'takeovers'
  fields[#fields + 1] = '0'
end
local is_given_up = ARGV[9] == '1'
if is_given_up then
  fields[#fields + 1] = 'owner'
  fields[#fields + 1] = ''
end
add_steps(fields, 12)
-- The first write: the one that a full server refuses, and then nothing is written.
set(instance, fields)
move(saga, id, old[3], state)
if is_given_up then
  disown(owner, id, is_cancelled)
  if LIVE[state] then
    redis.call('ZADD', due(old[5], saga, takeovers), text(now + ARGV[10]), id)
  elseif FINAL[state] then
    count_unfinished(saga, old[5], old[6], -1)
    redis.call('ZADD', T .. ':ended', text(now), id)
  end
end
return is_cancelled and 2 or 1
