-- What every change of an instance keeps in step with its hash. `accept.lua` and `progress.lua`, of which every step is one, say the same
-- without functions: to make these takes longer than all the rest.

local function is_live(state)
  return state == 'pending' or state == 'executing' or state == 'compensating'
end

local function is_final(state)
  return state == 'completed' or state == 'rolled_back'
end

local function instance_of(id)
  return T .. ':i:' .. id
end

-- The instances of a saga in a state, all of score 0, so that they are in the order of their ids.
local function in_state(state, saga)
  return T .. ':in:' .. state .. ':' .. saga
end

-- The instances that nobody owns, by the time at which they are due. Those that were taken over since a step was stored are
-- apart: suspects, of which a claim takes one, do not keep it from the others.
local function due(version, saga, takeovers)
  return T .. (takeovers ~= '0' and ':tired:' or ':due:') .. version .. ':' .. saga
end

-- How many unfinished instances a definition has. It is called after the instance's hash is written.
local function count_unfinished(saga, version, fingerprint, change)
  local field = version .. ':' .. #fingerprint .. ':' .. fingerprint .. ':' .. saga
  local count = call('HINCRBY', T .. ':unfinished', field, change)
  if count <= 0 then
    call('HDEL', T .. ':unfinished', field)
  end
  return count
end

local function own(owner, id)
  call('ZADD', T .. ':own:' .. owner, now_text, id)
  call('SADD', T .. ':owners', owner)
end

local function disown(owner, id, is_cancelled)
  call('ZREM', T .. ':own:' .. owner, id)
  if is_cancelled then
    call('SREM', T .. ':cancel:' .. owner, id)
  end
end

local function move(saga, id, old_state, new_state)
  if old_state ~= new_state then
    call('ZREM', in_state(old_state, saga), id)
    call('ZADD', in_state(new_state, saga), '0', id)
  end
end
