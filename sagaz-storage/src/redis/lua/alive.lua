-- The engines whose leases last.
return redis.call('ZRANGEBYSCORE', T .. ':leases', '(' .. text(now), '+inf')
