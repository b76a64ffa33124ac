-- ARGV: id, where: `:i:` is the store, `:a:` the archive. The time, and all fields: the instance and its steps are of one moment.
return { now_text, call('HGETALL', T .. ARGV[2] .. ARGV[1]) }
