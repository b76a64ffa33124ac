-- ARGV: after which letter, how many, then the states. The first dead letters of each.
local from, letters = ARGV[1], {}
if from == '' then
  from = '-'
else
  from = '(' .. from
end
for at = 3, #ARGV do
  local found = call('ZRANGEBYLEX', T .. ':dead:' .. ARGV[at], from, '+', 'LIMIT', '0', ARGV[2])
  for _, letter in ipairs(found) do
    letters[#letters + 1] = letter
  end
end
return letters
