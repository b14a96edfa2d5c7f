-- Appends all items of a call, or none.
-- KEYS: tenure, feed, fence, once; then the hash and the stream of each item's history.
-- ARGV: token, print or '', how long a key is remembered, length of the feed, number of bodies, bodies; then for each
-- item: its name in the feed, which body, a new epoch, how many items are kept, for how many milliseconds.
local t, why = tenure(KEYS[1])
if not t then return why end
if tonumber(redis.call('GET', KEYS[3]) or '0') > tonumber(ARGV[1]) then return redis.error_reply(FENCED) end
local print, gen = ARGV[2], t[3]
if print ~= '' then
  local once = redis.call('HMGET', KEYS[4], 'p', 's')
  if once[1] and once[1] ~= print then return redis.error_reply('OTHERCALL the key was used for another call') end
  if once[2] then
    local places = {}
    for epoch, offset in string.gmatch(once[2], '(%x+):(%d+)') do
      places[#places + 1] = mix(epoch, gen)
      places[#places + 1] = tonumber(offset)
    end
    return { 'before', t[2], 0, places }
  end
end

local now, bodies = clock(), tonumber(ARGV[5])
local count = (#ARGV - 5 - bodies) / 5
-- The first command that writes is one that is refused when memory is full: so all is written, or nothing.
local seq = redis.call('HINCRBY', KEYS[1], 'seq', count)
local places, stored = {}, {}
for item = 1, count do
  local hash, stream = KEYS[3 + 2 * item], KEYS[4 + 2 * item]
  local at = 5 + bodies + 5 * (item - 1)
  local items, age = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local h = history(hash)
  if not h then
    h = { e = ARGV[at + 3], o = 0, f = 1, a = now, m = 0 }
    -- What is left of a history whose record has expired a moment before.
    redis.call('DEL', stream)
  end
  h.o, h.m = h.o + 1, math.max(now, h.m)
  -- An id is offset-milliseconds, and the last one may go a little later than it must: reads look at f.
  redis.call('XADD', stream, 'MAXLEN', items < 200 and '=' or '~', items,
    string.format('%.0f-%.0f', h.o, h.m), 'b', ARGV[5 + tonumber(ARGV[at + 2])])
  if h.f == h.o then h.a = h.m end
  h.f = math.max(h.f, h.o - items + 1)
  redis.call('HSET', hash, 'e', h.e, 'o', h.o, 'f', h.f, 'a', h.a, 'm', h.m)
  let_age(hash, stream, h, now, age)
  redis.call('PEXPIRE', hash, 2 * age)
  redis.call('PEXPIRE', stream, 2 * age)
  redis.call('ZADD', KEYS[2], seq - count + item, ARGV[at + 1])
  places[#places + 1] = mix(h.e, gen)
  places[#places + 1] = h.o
  stored[#stored + 1] = h.e .. ':' .. string.format('%.0f', h.o)
end

-- The feed is looked at once in 64 items: it is a little longer than it may be in between.
if math.floor(seq / 64) ~= math.floor((seq - count) / 64) then
  local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[4])
  if surplus > 0 then
    local gone = redis.call('ZPOPMIN', KEYS[2], surplus)
    redis.call('HSET', KEYS[1], 'floor', gone[#gone])
  end
end
if print ~= '' then
  redis.call('HSET', KEYS[4], 'p', print, 's', table.concat(stored, ','))
  redis.call('PEXPIRE', KEYS[4], ARGV[3])
end
return { 'now', t[2], seq, places }
