-- ARGV: engines that seem to be dead. The time, and those that are: from here on their renewals tell that they had lapsed.
local leases = T .. ':leases'
local dead = { now_text }
for _, engine in ipairs(ARGV) do
  local lease = call('ZSCORE', leases, engine)
  if not lease or tonumber(lease) <= now then
    call('ZREM', leases, engine)
    dead[#dead + 1] = engine
  end
end
return dead
