-- Says where histories stand that were appended to after a place in the feed.
-- KEYS: tenure, feed. ARGV: what the keys of hashes begin with (they share the tag of the others), the generation of the
-- place or '', the place, how many at most.
local t, why = tenure(KEYS[1])
if not t then return why end
local after, missed = tonumber(ARGV[3]), 0
-- Of another generation: what came since has other numbers.
if ARGV[2] ~= t[3] then
  after = 0
  if ARGV[2] ~= '' then missed = 1 end
end
if after < tonumber(t[4] or '0') then missed = 1 end
local most = tonumber(ARGV[4])
local found = redis.call('ZRANGE', KEYS[2], string.format('(%.0f', after), '+inf', 'BYSCORE', 'LIMIT', 0, most + 1,
  'WITHSCORES')
local heads, more = {}, 0
for at = 1, #found, 2 do
  if at > 2 * most then
    more = 1
    break
  end
  after = tonumber(found[at + 1])
  local h = redis.call('HMGET', ARGV[1] .. found[at], 'e', 'o')
  if h[1] then
    heads[#heads + 1] = found[at]
    heads[#heads + 1] = mix(h[1], t[3])
    heads[#heads + 1] = tonumber(h[2])
  end
end
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq') or '0')
return { t[3], after, more, missed, t[2], seq, heads }
