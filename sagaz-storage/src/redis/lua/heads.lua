-- ARGV: a sender, then events. Those that are its own still and the first of their keys, each with its place; the others are the
-- relay's from now on.
local sender, reply = ARGV[1], {}
for at = 2, #ARGV do
  local id = ARGV[at]
  local row = T .. ':e:' .. id
  local old = call('HMGET', row, 'sender', 'until', 'key', 'place')
  if old[1] == sender and tonumber(old[2]) > now then
    if call('ZRANGE', T .. ':k:' .. old[3], '0', '0')[1] == id then
      reply[#reply + 1] = id
      reply[#reply + 1] = old[4]
    else
      call('HDEL', row, 'sender', 'until')
    end
  end
end
return reply
