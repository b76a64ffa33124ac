-- ARGV: schema, oldest code, partitions. Whose tables they are: what is stored, written here if nothing is.
local meta = T .. ':meta'
if call('EXISTS', meta) == 0 then
  call('HSET', meta, 'schema_version', ARGV[1], 'oldest_code', ARGV[2], 'partitions', ARGV[3])
end
return call('HMGET', meta, 'schema_version', 'oldest_code', 'partitions')
