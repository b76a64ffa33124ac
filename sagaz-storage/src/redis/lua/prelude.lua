-- Before every script. The first key that is declared is the hash tag of its slot: all others are made of it, so they are in the slot.
-- The second is there only to be declared (`request.rs`).
local T = KEYS[1]
local call = redis.call
local clock = call('TIME')
-- Milliseconds, as a text and as a number.
local now_text = clock[1] .. string.sub('00000' .. clock[2], -6, -4)
local now = tonumber(now_text)
