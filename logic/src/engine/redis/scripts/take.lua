-- A node takes its name: of two runs of one name the later has the higher number.
-- KEYS: fence, identity. ARGV: the number of this run or 0, for how long it stands, a new identity.
local token, fence = tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or '0')
if token == 0 then
  -- By the clock, so that it counts up even where the last one is forgotten.
  token = math.max(fence + 1, clock())
  redis.call('SET', KEYS[1], string.format('%.0f', token), 'PX', ARGV[2])
elseif fence > token then
  return redis.error_reply(FENCED)
end
redis.call('SET', KEYS[2], ARGV[3], 'NX')
return { token, redis.call('GET', KEYS[2]) }
