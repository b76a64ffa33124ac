-- ARGV: a worker, the epoch at which the lane of this partition is its own from now on. The epoch that holds, and 1 if it is that.
local worker, epoch = ARGV[1], ARGV[2]
local old = call('HMGET', T .. ':outbox', 'owner', 'epoch')
local old_epoch = tonumber(old[2] or '0')
if old_epoch > tonumber(epoch) or (old[2] == epoch and old[1] ~= worker and old[1] ~= '') then
  return { old[2], 0 }
end
if old[1] ~= worker or old[2] ~= epoch then
  call('HSET', T .. ':outbox', 'owner', worker, 'epoch', epoch)
end
return { epoch, 1 }
