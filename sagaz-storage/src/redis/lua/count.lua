-- ARGV: the states. For each saga its name, and how many instances are in each: sets know their sizes.
local reply = {}
for _, saga in ipairs(call('SMEMBERS', T .. ':sagas')) do
  local row = { saga }
  for _, state in ipairs(ARGV) do
    row[#row + 1] = call('ZCARD', T .. ':in:' .. state .. ':' .. saga)
  end
  reply[#reply + 1] = row
end
return reply
