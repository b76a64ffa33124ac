-- ARGV: engine.
return redis.call('ZREM', T .. ':leases', ARGV[1])
