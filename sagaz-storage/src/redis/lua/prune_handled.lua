-- ARGV: an age, a limit. Removes records of handled events that are older; how many.
local records = call('ZRANGEBYSCORE', T .. ':handled', '-inf', text(now - ARGV[1]), 'LIMIT', '0', ARGV[2])
if #records > 0 then
  call('ZREM', T .. ':handled', unpack(records))
end
return #records
