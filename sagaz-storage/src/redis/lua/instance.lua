-- What every change of an instance keeps in step with its hash.

local LIVE = { pending = true, executing = true, compensating = true }
local FINAL = { completed = true, rolled_back = true }

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
  return T .. (tonumber(takeovers) > 0 and ':tired:' or ':due:') .. version .. ':' .. saga
end

-- How many unfinished instances a definition has. It is called after the instance's hash is written.
local function count_unfinished(saga, version, fingerprint, change)
  local field = version .. ':' .. #fingerprint .. ':' .. fingerprint .. ':' .. saga
  local count = redis.call('HINCRBY', T .. ':unfinished', field, change)
  if count <= 0 then
    redis.call('HDEL', T .. ':unfinished', field)
  end
  return count
end

local function own(owner, id)
  redis.call('ZADD', T .. ':own:' .. owner, text(now), id)
  redis.call('SADD', T .. ':owners', owner)
end

local function disown(owner, id, is_cancelled)
  redis.call('ZREM', T .. ':own:' .. owner, id)
  if is_cancelled then
    redis.call('SREM', T .. ':cancel:' .. owner, id)
  end
end

local function move(saga, id, old_state, new_state)
  if old_state ~= new_state then
    redis.call('ZREM', in_state(old_state, saga), id)
    redis.call('ZADD', in_state(new_state, saga), 0, id)
  end
end

-- HSET in parts: Lua unpacks no more than some thousand values.
local function set(instance, fields)
  for first = 1, #fields, 2000 do
    redis.call('HSET', instance, unpack(fields, first, math.min(first + 1999, #fields)))
  end
end

-- Adds the rows of steps to the fields: name, record, wake-up, whether there is an output, its type, the output. A row is when it
-- was written, when the step is attempted again, and the record. An output, once stored, stays.
local function add_steps(fields, first)
  for at = first, #ARGV, 6 do
    local name, wake = ARGV[at], ARGV[at + 2]
    if wake ~= '' then
      wake = text(now + wake)
    end
    local n = #fields
    fields[n + 1] = 's:' .. name
    fields[n + 2] = text(now) .. ' ' .. wake .. ' ' .. ARGV[at + 1]
    if ARGV[at + 3] == '1' then
      fields[n + 3] = 't:' .. name
      fields[n + 4] = ARGV[at + 4]
      fields[n + 5] = 'o:' .. name
      fields[n + 6] = ARGV[at + 5]
    end
  end
end
