-- Puts an event behind all others of this partition: its id, key, record, content type and data; leased to a sender, if one is
-- named and it is the first of its key. One that waits here already is not put there again. A place is no less than the time, so that
-- none is given again by a replica that took over and does not know the last ones: whoever has read or marked those would pass over it.
local function append(id, key, event, kind, data, sender, lease_until)
  local row = T .. ':e:' .. id
  if call('EXISTS', row) == 1 then
    return
  end
  local last = tonumber(call('HGET', T .. ':outbox', 'place') or '0')
  local place = string.format('%.0f', math.max(last + 1, now * 1000))
  call('HSET', T .. ':outbox', 'place', place)
  call('HSET', row, 'place', place, 'key', key, 'event', event, 'type', kind, 'data', data, 'stored', now_text)
  if sender ~= '' and call('EXISTS', T .. ':k:' .. key) == 0 then
    call('HSET', row, 'sender', sender, 'until', lease_until)
  end
  call('ZADD', T .. ':waiting', place, id)
  call('ZADD', T .. ':k:' .. key, place, id)
end
