-- ARGV: id, epoch, state, whether the pivot is passed, failure, the intervention up to its time, then the steps.
-- 1: applied. 0: it is not stuck at that epoch.
local id, state = ARGV[1], ARGV[3]
local instance = instance_of(id)
local old = call('HMGET', instance, 'state', 'epoch', 'saga', 'version', 'fingerprint', 'interventions')
if old[1] ~= 'stuck' or old[2] ~= ARGV[2] then
  return 0
end
local saga = old[3]
local before = old[6] and string.sub(old[6], 1, -2) .. ',' or '['
local fields = {
  'state', state, 'pivot', ARGV[4], 'owner', '', 'epoch', text(old[2] + 1), 'takeovers', '0', 'stuck', '', 'cancel', '0',
  'updated', now_text, 'interventions', before .. ARGV[6] .. now_text .. '}]',
}
local n = #fields
if ARGV[5] ~= '' then
  fields[n + 1], fields[n + 2] = 'failure', ARGV[5]
  n = n + 2
end
-- The steps: name, record, wake-up, whether there is an output, its type, the output. A row is when it was written, when the step is
-- attempted again, and the record. An output, once stored, stays.
for at = 7, #ARGV, 6 do
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
for first = 1, n, 2000 do
  -- In parts: Lua unpacks no more than some thousand values.
  call('HSET', instance, unpack(fields, first, math.min(first + 1999, n)))
end
move(saga, id, 'stuck', state)
if is_live(state) then
  call('ZADD', due(old[4], saga, '0'), now_text, id)
elseif is_final(state) then
  count_unfinished(saga, old[4], old[5], -1)
  call('ZADD', T .. ':ended', now_text, id)
end
return 1
