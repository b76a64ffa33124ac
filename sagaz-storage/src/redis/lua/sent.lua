-- An event that was published: to the archive, or away.
local function sent(id, key, to_archive)
  local row = T .. ':e:' .. id
  if to_archive then
    -- The first write: the one that a full server refuses.
    call('ZADD', T .. ':sent', now_text, id)
    call('RENAME', row, T .. ':s:' .. id)
  else
    call('UNLINK', row)
  end
  call('ZREM', T .. ':waiting', id)
  call('ZREM', T .. ':k:' .. key, id)
end
