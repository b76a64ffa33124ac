-- ARGV: an age. How many records of handled events are older.
return call('ZCOUNT', T .. ':handled', '-inf', text(now - ARGV[1]))
