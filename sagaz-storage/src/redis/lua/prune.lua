-- ARGV: an age, a limit, whether to keep them in the archive. Removes instances that ended longer ago, with their start keys;
-- how many.
local removed = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', T .. ':ended', '-inf', text(now - ARGV[1]), 'LIMIT', 0, ARGV[2])) do
  local instance = instance_of(id)
  local old = redis.call('HMGET', instance, 'saga', 'state', 'key')
  redis.call('ZREM', T .. ':ended', id)
  if FINAL[old[2]] then
    local saga = old[1]
    if ARGV[3] == '1' then
      redis.call('RENAME', instance, T .. ':a:' .. id)
      redis.call('ZADD', T .. ':archive', text(now), id)
    else
      redis.call('UNLINK', instance)
    end
    if old[3] then
      local start_key = T .. ':key:' .. #saga .. ':' .. saga .. ':' .. old[3]
      if redis.call('GET', start_key) == id then
        redis.call('UNLINK', start_key)
      end
    end
    redis.call('ZREM', in_state(old[2], saga), id)
    removed = removed + 1
    local is_left = 0
    for _, state in ipairs({ 'completed', 'rolled_back', 'stuck', 'pending', 'executing', 'compensating' }) do
      is_left = redis.call('EXISTS', in_state(state, saga))
      if is_left == 1 then
        break
      end
    end
    if is_left == 0 then
      redis.call('SREM', T .. ':sagas', saga)
    end
  end
end
return removed
