-- ARGV: how many of each list, until when orphans were taken, then for each list: what it is, its name, how many of it were seen.
-- The time, then for each list its candidates: id, since when, saga, version, fingerprint, takeovers, owner, epoch, how many fields.
local length, reply = tonumber(ARGV[1]), { now_text }
for at = 3, #ARGV, 3 do
  local kind, name, seen = ARGV[at], T .. ARGV[at + 1], ARGV[at + 2]
  local found = call('ZRANGEBYSCORE', name, '-inf', kind == 'own' and ARGV[2] or now_text, 'WITHSCORES', 'LIMIT', seen, length)
  local list = {}
  for place = 1, #found, 2 do
    local id = found[place]
    local instance = T .. ':i:' .. id
    local row = call('HMGET', instance, 'saga', 'version', 'fingerprint', 'takeovers', 'owner', 'epoch')
    list[#list + 1] = {
      id, found[place + 1], row[1] or '', row[2] or '', row[3] or '', row[4] or '', row[5] or '', row[6] or '',
      call('HLEN', instance),
    }
  end
  if kind == 'own' and #found == 0 and seen == '0' and call('EXISTS', name) == 0 then
    -- A dead engine that owns nothing here any more.
    call('SREM', T .. ':owners', string.sub(ARGV[at + 1], 6))
  end
  reply[#reply + 1] = list
end
return reply
