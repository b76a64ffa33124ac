-- ARGV: a worker, whether it leaves, then lanes. They are nobody's.
local lanes = T .. ':lanes'
for at = 3, #ARGV do
  local stored = call('HGET', lanes, ARGV[at])
  if stored then
    local space = string.find(stored, ' ', 1, true)
    if string.sub(stored, space + 1) == ARGV[1] then
      call('HSET', lanes, ARGV[at], string.sub(stored, 1, space))
    end
  end
end
if ARGV[2] == '1' then
  call('ZREM', T .. ':workers', ARGV[1])
end
return 1
