-- What a consumer has handled is named by the consumer, after its length, and the id.
local function handled(consumer, id)
  return #consumer .. ':' .. consumer .. ':' .. id
end

-- Records that a consumer has handled an event. The dead letter that an operator gave back for it has done its work.
local function record(consumer, id, letter)
  call('ZADD', T .. ':handled', now_text, handled(consumer, id))
  if call('ZREM', T .. ':again:' .. consumer, letter) == 1 then
    call('ZADD', T .. ':decided', now_text, letter)
  end
end
