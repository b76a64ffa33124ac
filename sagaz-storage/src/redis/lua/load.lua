-- ARGV: id. The time, and all fields: the instance and its steps are of one moment.
return { text(now), redis.call('HGETALL', T .. ':i:' .. ARGV[1]) }
