-- ARGV: a worker, its epoch, a place, how many events behind it, how many of each key, then keys, each with its first place.
-- Nothing if the lane is not the worker's. Else the time, how many rows are behind the place, those, and the rows of the keys: whether
-- it blocks, and the fields.
local outbox = call('HMGET', T .. ':outbox', 'owner', 'epoch')
if outbox[1] ~= ARGV[1] or outbox[2] ~= ARGV[2] then
  return {}
end
local waiting, blocking = T .. ':waiting', T .. ':blocking'
local reply = { now_text, 0 }
local function row(id, blocks)
  reply[#reply + 1] = {
    blocks and 1 or 0,
    call('HMGET', T .. ':e:' .. id, 'place', 'key', 'event', 'type', 'data', 'attempts', 'until'),
  }
end
local limit = tonumber(ARGV[4])
if limit > 0 then
  local found = {}
  for _, set in ipairs({ waiting, blocking }) do
    local part = call('ZRANGEBYSCORE', set, '(' .. ARGV[3], '+inf', 'WITHSCORES', 'LIMIT', '0', limit)
    for at = 1, #part, 2 do
      found[#found + 1] = { part[at], tonumber(part[at + 1]), set == blocking }
    end
  end
  table.sort(found, function(one, other) return one[2] < other[2] end)
  reply[2] = math.min(#found, limit)
  for at = 1, reply[2] do
    row(found[at][1], found[at][3])
  end
end
for at = 6, #ARGV, 2 do
  local ids = call('ZRANGEBYSCORE', T .. ':k:' .. ARGV[at], ARGV[at + 1], '+inf', 'LIMIT', '0', ARGV[5])
  for _, id in ipairs(ids) do
    row(id, call('ZSCORE', blocking, id))
  end
end
return reply
