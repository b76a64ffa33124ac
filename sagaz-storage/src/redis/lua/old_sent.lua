-- ARGV: an age. How many events were sent, and dead letters decided on, longer ago.
local until_then = text(now - ARGV[1])
return call('ZCOUNT', T .. ':sent', '-inf', until_then) + call('ZCOUNT', T .. ':decided', '-inf', until_then)
