-- ARGV: whether one saga is asked for, that, after which id, how many, then the states. Ids, newest first.
local after, length = ARGV[3], tonumber(ARGV[4])
local sagas = ARGV[1] == '1' and { ARGV[2] } or call('SMEMBERS', T .. ':sagas')
local from = after == '' and '+' or '(' .. after
local ids = {}
for _, saga in ipairs(sagas) do
  for at = 5, #ARGV do
    local found = call('ZREVRANGEBYLEX', T .. ':in:' .. ARGV[at] .. ':' .. saga, from, '-', 'LIMIT', '0', length)
    for _, id in ipairs(found) do
      ids[#ids + 1] = id
    end
  end
end
table.sort(ids, function(one, other) return one > other end)
while #ids > length do
  ids[#ids] = nil
end
return ids
