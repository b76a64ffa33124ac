-- Removes entries below the first that some group has yet to acknowledge, and leaves at least so many.
local function parts(id)
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(seq)
end
local function lower(one, other)
  local one_ms, one_seq = parts(one)
  local other_ms, other_seq = parts(other)
  if one_ms < other_ms or (one_ms == other_ms and one_seq < other_seq) then return one end
  return other
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local floor = nil
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local facts = {}
  for at = 1, #group, 2 do facts[group[at]] = group[at + 1] end
  local first = facts['last-delivered-id']
  local pending = redis.call('XPENDING', KEYS[1], facts['name'])
  if pending[1] > 0 then first = lower(first, pending[2]) end
  floor = floor and lower(floor, first) or first
end
if not floor then return 0 end
local keep = tonumber(ARGV[1])
local length = redis.call('XLEN', KEYS[1])
if length <= keep then return 0 end
if keep > 0 then
  local kept = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', keep)
  floor = lower(floor, kept[#kept][1])
end
return redis.call('XTRIM', KEYS[1], 'MINID', floor)
