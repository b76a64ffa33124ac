-- How many events wait, for how long the first has (in ms, -1: none does), and how many dead letters are open.
local waiting = T .. ':waiting'
local first = call('ZRANGE', waiting, '0', '0')[1]
local stored = first and call('HGET', T .. ':e:' .. first, 'stored')
return {
  call('ZCARD', waiting), stored and text(math.max(0, now - stored)) or '-1', call('ZCARD', T .. ':dead:open'),
}
