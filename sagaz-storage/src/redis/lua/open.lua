-- ARGV: dead letters. The time, then those that are open here, each with when it died.
local reply = { now_text }
for _, letter in ipairs(ARGV) do
  if call('ZSCORE', T .. ':dead:open', letter) then
    reply[#reply + 1] = letter
    reply[#reply + 1] = call('HGET', T .. ':d:' .. letter, 'died')
  end
end
return reply
