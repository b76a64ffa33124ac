-- ARGV: how many sets, those, then the engines that are alive.
-- Whether something is due, when the next is (in ms, -1: never), then the owners that are not alive.
local sets = tonumber(ARGV[1])
local names = {}
for at = 1, sets do
  names[at] = T .. ARGV[at + 1]
end
local is_due, next_due = 0, -1
if sets > 0 and call('EXISTS', unpack(names)) > 0 then
  for _, name in ipairs(names) do
    local first = call('ZRANGE', name, '0', '0', 'WITHSCORES')
    if first[2] and tonumber(first[2]) <= now then
      is_due = 1
      first = call('ZRANGEBYSCORE', name, '(' .. now_text, '+inf', 'WITHSCORES', 'LIMIT', '0', '1')
    end
    if first[2] then
      local left = tonumber(first[2]) - now
      if next_due < 0 or left < next_due then
        next_due = left
      end
    end
  end
end
local reply = { is_due, text(next_due) }
local owners = call('SMEMBERS', T .. ':owners')
if #owners > 0 then
  local alive = {}
  for at = sets + 2, #ARGV do
    alive[ARGV[at]] = true
  end
  for _, owner in ipairs(owners) do
    if not alive[owner] then
      reply[#reply + 1] = owner
    end
  end
end
return reply
