-- ARGV: engine, its lease. Whether it had lapsed, and how many others are alive. A lease that has ended is as good as none, so that
-- it is removed.
local engine = ARGV[1]
local leases = T .. ':leases'
local old = call('ZSCORE', leases, engine)
call('ZADD', leases, text(now + ARGV[2]), engine)
call('ZREMRANGEBYSCORE', leases, '-inf', now_text)
local lapsed = not old or tonumber(old) <= now
return { lapsed and 1 or 0, call('ZCOUNT', leases, '(' .. now_text, '+inf') }
