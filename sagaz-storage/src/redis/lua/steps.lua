-- ARGV: id. How many fields the instance has, then of each stored step the field and its row; no input and no output.
local instance = T .. ':i:' .. ARGV[1]
local names = {}
for _, field in ipairs(call('HKEYS', instance)) do
  if string.sub(field, 1, 2) == 's:' then
    names[#names + 1] = field
  end
end
local reply = { call('HLEN', instance) }
if #names > 0 then
  for at, row in ipairs(call('HMGET', instance, unpack(names))) do
    reply[#reply + 1] = names[at]
    reply[#reply + 1] = row
  end
end
return reply
