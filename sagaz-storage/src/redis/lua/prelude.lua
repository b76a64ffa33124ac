-- Before every script. The one key that is declared is the hash tag of its slot: all others are made of it, so they are in the slot.
local T = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A whole number as text: `..` would round it to 14 digits.
local function text(number)
  return string.format('%.0f', number)
end
