-- ARGV: before when, the new state, the intervention up to its time, then dead letters, each with when it died. How many were open.
local decided = 0
-- Whoever waits for this reply has given up by then.
if now >= tonumber(ARGV[1]) then
  return decided
end
local state, is_retried = ARGV[2], ARGV[2] == 'retried'
for at = 4, #ARGV, 2 do
  local letter = ARGV[at]
  local row = T .. ':d:' .. letter
  local old = call('HMGET', row, 'state', 'died', 'blocks', 'consumer', 'id', 'interventions')
  if old[1] == 'open' and old[2] == ARGV[at + 1] then
    local consumer, id = old[4], old[5]
    local before = old[6] and string.sub(old[6], 1, -2) .. ',' or '['
    -- The first write: the one that a full server refuses.
    call('HSET', row, 'state', state, 'blocks', '0', 'interventions', before .. ARGV[3] .. now_text .. '}]')
    call('ZREM', T .. ':dead:open', letter)
    call('ZADD', T .. ':dead:' .. state, '0', letter)
    if consumer and is_retried then
      -- It is of use until it is handled.
      call('ZREM', T .. ':handled', handled(consumer, id))
      call('ZADD', T .. ':again:' .. consumer, now_text, letter)
    else
      call('ZADD', T .. ':decided', now_text, letter)
    end
    if not consumer then
      local event = T .. ':e:' .. id
      if old[3] == '1' then
        local waits = call('HMGET', event, 'place', 'key')
        call('ZREM', T .. ':blocking', id)
        if is_retried then
          call('ZADD', T .. ':waiting', waits[1], id)
          call('HDEL', event, 'attempts', 'error', 'until')
        else
          call('ZREM', T .. ':k:' .. waits[2], id)
          call('UNLINK', event)
        end
      elseif is_retried then
        local parts = call('HMGET', row, 'key', 'event', 'type', 'data')
        append(id, parts[1], parts[2], parts[3], parts[4], '', '')
      end
    end
    decided = decided + 1
  end
end
return decided
