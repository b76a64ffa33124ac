-- ARGV: engine.
return call('ZREM', T .. ':leases', ARGV[1])
