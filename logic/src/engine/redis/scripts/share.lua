-- Nodes tell each other which gateways announced themselves, for the time of their leases.
-- KEYS: leases. ARGV: how many are told at most; then address, milliseconds left (0: it goes), and so on.
local now = clock()
for at = 2, #ARGV, 2 do
  local left = tonumber(ARGV[at + 1])
  if left > 0 then redis.call('ZADD', KEYS[1], 'GT', now + left, ARGV[at]) else redis.call('ZREM', KEYS[1], ARGV[at]) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)
