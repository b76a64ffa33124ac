-- ARGV: a worker, its epoch, try, whether what is sent goes to the archive, then for each event its place, what became of it (`sent`,
-- `retry`, `dead`), attempts, the words of the error, and when it is tried again, or whether it blocks its key.
-- 1: stored, by this or an earlier try. 0: the lane is not the worker's.
local outbox = call('HMGET', T .. ':outbox', 'owner', 'epoch')
if outbox[1] ~= ARGV[1] or outbox[2] ~= ARGV[2] then
  return 0
end
local try = ARGV[3]
for at = 5, #ARGV, 5 do
  local place, fate = ARGV[at], ARGV[at + 1]
  local id = call('ZRANGEBYSCORE', T .. ':waiting', place, place)[1]
  if id then
    local row = T .. ':e:' .. id
    local old = call('HMGET', row, 'key', 'try')
    local key, last = old[1], old[2]
    -- An earlier try that was held up on its way: what came after it is stored already.
    local is_late = last and string.sub(last, 1, 16) == string.sub(try, 1, 16) and string.sub(last, 17) > string.sub(try, 17)
    if is_late then
      fate = 'late'
    end
    if fate == 'sent' then
      sent(id, key, ARGV[4] == '1')
    elseif fate == 'retry' then
      call('HSET', row, 'try', try, 'attempts', ARGV[at + 2], 'error', ARGV[at + 3],
        'until', string.format('%.0f', now + ARGV[at + 4]))
      call('HDEL', row, 'sender')
    elseif fate == 'dead' then
      local blocks = ARGV[at + 4]
      local parts = call('HMGET', row, 'event', 'type', 'data')
      die(id .. '\0', id, key, parts[1], parts[2], parts[3], nil, ARGV[at + 2], ARGV[at + 3], blocks)
      call('ZREM', T .. ':waiting', id)
      if blocks == '1' then
        call('ZADD', T .. ':blocking', place, id)
        call('HSET', row, 'try', try, 'attempts', ARGV[at + 2])
        call('HDEL', row, 'sender', 'until')
      else
        call('ZREM', T .. ':k:' .. key, id)
        call('UNLINK', row)
      end
    end
  end
end
return 1
