-- ARGV: an age. How many instances ended longer ago.
return call('ZCOUNT', T .. ':ended', '-inf', text(now - ARGV[1]))
