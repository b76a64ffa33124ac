-- ARGV: an age, a limit, whether to keep them in the archive. Removes instances that ended longer ago, with their start keys;
-- how many.
local removed = 0
for _, id in ipairs(call('ZRANGEBYSCORE', T .. ':ended', '-inf', text(now - ARGV[1]), 'LIMIT', '0', ARGV[2])) do
  local instance = instance_of(id)
  local old = call('HMGET', instance, 'saga', 'state', 'key')
  call('ZREM', T .. ':ended', id)
  if is_final(old[2]) then
    local saga = old[1]
    if ARGV[3] == '1' then
      call('RENAME', instance, T .. ':a:' .. id)
      call('ZADD', T .. ':archive', now_text, id)
    else
      call('UNLINK', instance)
    end
    if old[3] then
      local start_key = T .. ':key:' .. #saga .. ':' .. saga .. ':' .. old[3]
      if call('GET', start_key) == id then
        call('UNLINK', start_key)
      end
    end
    call('ZREM', in_state(old[2], saga), id)
    removed = removed + 1
    local is_left = 0
    for _, state in ipairs({ 'completed', 'rolled_back', 'stuck', 'pending', 'executing', 'compensating' }) do
      is_left = call('EXISTS', in_state(state, saga))
      if is_left == 1 then
        break
      end
    end
    if is_left == 0 then
      call('SREM', T .. ':sagas', saga)
    end
  end
end
return removed
