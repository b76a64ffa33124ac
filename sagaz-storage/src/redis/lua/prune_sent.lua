-- ARGV: an age, a limit. Removes events that were sent, and dead letters that were decided on, longer ago; how many.
local until_then, limit = text(now - ARGV[1]), tonumber(ARGV[2])
local ids = call('ZRANGEBYSCORE', T .. ':sent', '-inf', until_then, 'LIMIT', '0', limit)
for _, id in ipairs(ids) do
  call('ZREM', T .. ':sent', id)
  call('UNLINK', T .. ':s:' .. id)
end
local letters = call('ZRANGEBYSCORE', T .. ':decided', '-inf', until_then, 'LIMIT', '0', limit - #ids)
for _, letter in ipairs(letters) do
  local row = T .. ':d:' .. letter
  call('ZREM', T .. ':dead:' .. call('HGET', row, 'state'), letter)
  call('ZREM', T .. ':decided', letter)
  call('UNLINK', row)
end
return #ids + #letters
