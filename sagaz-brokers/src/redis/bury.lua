-- Adds a dead letter to its stream, and settles the message only then.
local added = redis.pcall('XADD', KEYS[1], '*', unpack(ARGV, 3))
if type(added) == 'table' and added.err then return added end
return redis.call('XACK', KEYS[2], ARGV[1], ARGV[2])
