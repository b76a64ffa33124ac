-- Puts an event behind all others of this partition: its id, key, record, content type and data; leased to a sender, if one is
-- named and it is the first of its key. One that waits here already is not put there again.
local function append(id, key, event, kind, data, sender, lease_until)
  local row = T .. ':e:' .. id
  if call('EXISTS', row) == 1 then
    return
  end
  local place = string.format('%.0f', call('HINCRBY', T .. ':outbox', 'place', '1'))
  call('HSET', row, 'place', place, 'key', key, 'event', event, 'type', kind, 'data', data, 'stored', now_text)
  if sender ~= '' and call('EXISTS', T .. ':k:' .. key) == 0 then
    call('HSET', row, 'sender', sender, 'until', lease_until)
  end
  call('ZADD', T .. ':waiting', place, id)
  call('ZADD', T .. ':k:' .. key, place, id)
end
