-- The engines whose leases last.
return call('ZRANGEBYSCORE', T .. ':leases', '(' .. now_text, '+inf')
