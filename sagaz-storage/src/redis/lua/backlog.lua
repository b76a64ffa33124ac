-- ARGV: the states. For each saga its name, then of each state how many instances are in it, and how long ago (in ms) that of the lowest
-- id was accepted. An id begins with the time at which it was made: so nothing is read but the first of each set.
local reply = {}
for _, saga in ipairs(call('SMEMBERS', T .. ':sagas')) do
  local row = { saga }
  for _, state in ipairs(ARGV) do
    local set = T .. ':in:' .. state .. ':' .. saga
    local first = call('ZRANGE', set, '0', '0')[1]
    local created = first and tonumber(call('HGET', T .. ':i:' .. first, 'created') or '')
    row[#row + 1] = call('ZCARD', set)
    row[#row + 1] = text(created and math.max(0, now - created) or 0)
  end
  reply[#reply + 1] = row
end
return reply
