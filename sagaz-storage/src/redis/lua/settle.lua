-- ARGV: a sender, whether what is sent goes to the archive, then places, each with whether its event was sent; if not, it is the relay's.
local sender = ARGV[1]
for at = 3, #ARGV, 2 do
  local id = call('ZRANGEBYSCORE', T .. ':waiting', ARGV[at], ARGV[at])[1]
  if id then
    local row = T .. ':e:' .. id
    local old = call('HMGET', row, 'sender', 'until', 'key')
    if old[1] == sender and tonumber(old[2]) > now then
      if ARGV[at + 1] == '1' then
        sent(id, old[3], ARGV[2] == '1')
      else
        call('HDEL', row, 'sender', 'until')
      end
    end
  end
end
return 1
