-- ARGV: before when (in ms, or nothing), whether a consumer handles an event; if so, consumer, event and dead letter, else a name; then how
-- many commands, those (what, key, two arguments), and the events: id, key, record, content type, data.
-- `done`, `duplicate`, `late`; or the number of the first command that cannot be carried out, and why.
if ARGV[1] ~= '' and now >= tonumber(ARGV[1]) then
  return 'late'
end
local is_handling, consumer, id, letter = ARGV[2] == '1', ARGV[3], ARGV[4], ARGV[5]
if is_handling then
  if call('ZSCORE', T .. ':handled', handled(consumer, id)) then
    return 'duplicate'
  end
elseif call('EXISTS', T .. ':done:' .. consumer) == 1 then
  return 'done'
end
local first, last = 7, 6 + 4 * ARGV[6]

-- A script that fails half-way is not rolled back, so whether every command can be carried out is seen before the first one is.
local wanted = {
  INCRBY = 'string', HSET = 'hash', HDEL = 'hash', HINCRBY = 'hash', SADD = 'set', SREM = 'set', ZADD = 'zset',
  ZINCRBY = 'zset', ZREM = 'zset', RPUSH = 'list', LPUSH = 'list',
}
local removes = { HDEL = true, SREM = true, ZREM = true }
local kinds, values, gone = {}, {}, {}
-- The number that is there, with what the commands before have done to it.
local function stored(key, field)
  local value = values[key] and values[key][field]
  if value == nil and not gone[key] and kinds[key] == 'string' then
    value = call('GET', key)
  elseif value == nil and not gone[key] and kinds[key] == 'hash' then
    value = call('HGET', key, field)
  end
  return value or '0'
end
for at = first, last, 4 do
  local what, key, field, value = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local kind = kinds[key] or call('TYPE', key).ok
  kinds[key], values[key] = kind, values[key] or {}
  if what == 'DEL' then
    kinds[key], values[key], gone[key] = 'none', {}, true
  elseif what == 'SET' then
    kinds[key], values[key], gone[key] = 'string', { [''] = field }, true
  elseif wanted[what] then
    if kind == 'none' and not removes[what] then
      kinds[key] = wanted[what]
      gone[key] = true
    elseif kind ~= 'none' and kind ~= wanted[what] then
      return { (at - first) / 4 + 1, 'there is a ' .. kind }
    end
    if what == 'HSET' then
      values[key][field] = value
    elseif what == 'HDEL' then
      values[key][field] = '0'
    elseif what == 'INCRBY' or what == 'HINCRBY' then
      if what == 'INCRBY' then
        field, value = '', field
      end
      local number = stored(key, field)
      if number ~= '0' and not string.find(number, '^%-?[1-9]%d*$') then
        return { (at - first) / 4 + 1, 'there is no number' }
      end
      local sum = number + value
      if sum > 9007199254740991 or sum < -9007199254740991 then
        return { (at - first) / 4 + 1, 'the number would be too large' }
      end
      values[key][field] = string.format('%.0f', sum)
    end
  end
end

-- The first write: the one that a full server refuses, and then nothing is written.
if is_handling then
  record(consumer, id, letter)
else
  -- For a try that comes again, or late.
  call('SET', T .. ':done:' .. consumer, '1', 'PX', '3600000')
end
local one = { DEL = true }
local two = { SET = true, PEXPIRE = true, INCRBY = true, HDEL = true, SADD = true, SREM = true, ZREM = true, RPUSH = true, LPUSH = true }
for at = first, last, 4 do
  local what, key = ARGV[at], ARGV[at + 1]
  if one[what] then
    call(what, key)
  elseif two[what] then
    call(what, key, ARGV[at + 2])
  else
    call(what, key, ARGV[at + 2], ARGV[at + 3])
  end
end
for at = last + 1, #ARGV, 5 do
  append(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], '', '')
end
return 'done'
