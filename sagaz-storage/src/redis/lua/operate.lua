-- ARGV: id, epoch, state, whether the pivot is passed, failure, the intervention up to its time, then the steps.
-- 1: applied. 0: it is not stuck at that epoch.
local id, state = ARGV[1], ARGV[3]
local instance = instance_of(id)
local old = redis.call('HMGET', instance, 'state', 'epoch', 'saga', 'version', 'fingerprint', 'interventions')
if old[1] ~= 'stuck' or old[2] ~= ARGV[2] then
  return 0
end
local saga = old[3]
local before = old[6] and string.sub(old[6], 1, -2) .. ',' or '['
local fields = {
  'state', state, 'pivot', ARGV[4], 'owner', '', 'epoch', text(old[2] + 1), 'takeovers', '0', 'stuck', '', 'cancel', '0',
  'updated', text(now), 'interventions', before .. ARGV[6] .. text(now) .. '}]',
}
if ARGV[5] ~= '' then
  fields[#fields + 1] = 'failure'
  fields[#fields + 1] = ARGV[5]
end
add_steps(fields, 7)
set(instance, fields)
move(saga, id, 'stuck', state)
if LIVE[state] then
  redis.call('ZADD', due(old[4], saga, 0), text(now), id)
elseif FINAL[state] then
  count_unfinished(saga, old[4], old[5], -1)
  redis.call('ZADD', T .. ':ended', text(now), id)
end
return 1
