-- Stores a dead letter, which is open from now on, whatever it was before. `key` and `consumer` may be missing.
local function die(letter, id, key, event, kind, data, consumer, attempts, words, blocks)
  local row = T .. ':d:' .. letter
  local before = call('HGET', row, 'state')
  local fields = {
    'id', id, 'event', event, 'type', kind, 'data', data, 'attempts', attempts, 'error', words, 'blocks', blocks,
    'state', 'open', 'died', now_text,
  }
  local n = #fields
  if key then
    fields[n + 1], fields[n + 2] = 'key', key
    n = n + 2
  end
  if consumer then
    fields[n + 1], fields[n + 2] = 'consumer', consumer
  end
  call('HSET', row, unpack(fields))
  if before and before ~= 'open' then
    call('ZREM', T .. ':dead:' .. before, letter)
    call('ZREM', T .. ':decided', letter)
  end
  call('ZADD', T .. ':dead:open', '0', letter)
end
