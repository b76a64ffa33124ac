-- ARGV: a worker, its lease, how many lanes it wants, how many there are, then lanes of its own whose epoch cannot be had, each with
-- the epoch that its partition knows.
-- How many workers are alive, then each lane of the worker and its epoch.
local worker, wanted = ARGV[1], tonumber(ARGV[3])
local workers, lanes = T .. ':workers', T .. ':lanes'
call('ZADD', workers, text(now + ARGV[2]), worker)
call('ZREMRANGEBYSCORE', workers, '-inf', now_text)
local living = call('ZRANGE', workers, '0', '-1')
local is_alive, stored, used = {}, {}, {}
for _, it in ipairs(living) do
  is_alive[it] = true
end
local rows = call('HGETALL', lanes)
for at = 1, #rows, 2 do
  stored[rows[at]] = rows[at + 1]
end
for at = 5, #ARGV, 2 do
  used[ARGV[at]] = tonumber(ARGV[at + 1])
end
local reply, free, owned = { #living }, {}, 0
for index = 0, tonumber(ARGV[4]) - 1 do
  local lane = text(index)
  local epoch, owner = 0, ''
  if stored[lane] then
    local space = string.find(stored[lane], ' ', 1, true)
    epoch, owner = tonumber(string.sub(stored[lane], 1, space - 1)), string.sub(stored[lane], space + 1)
  end
  if owner == worker then
    if used[lane] and used[lane] >= epoch then
      epoch = used[lane] + 1
      call('HSET', lanes, lane, text(epoch) .. ' ' .. worker)
    end
    owned = owned + 1
    reply[#reply + 1] = lane
    reply[#reply + 1] = text(epoch)
  elseif not is_alive[owner] then
    free[#free + 1] = { lane, epoch + 1 }
  end
end
for _, lane in ipairs(free) do
  if owned >= wanted then
    break
  end
  owned = owned + 1
  call('HSET', lanes, lane[1], text(lane[2]) .. ' ' .. worker)
  reply[#reply + 1] = lane[1]
  reply[#reply + 1] = text(lane[2])
end
return reply
