-- ARGV: id, where: `:i:` is the store, `:a:` the archive. The time, and all fields: the instance and its steps are of one moment.
return { text(now), redis.call('HGETALL', T .. ARGV[2] .. ARGV[1]) }
