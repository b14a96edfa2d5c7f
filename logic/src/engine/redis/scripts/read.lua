-- Reads a part of a history.
-- KEYS: tenure, hash, stream.
-- ARGV: a new epoch, how many items are kept, for how many milliseconds; the epoch that is known, '' for any and '-' for
-- everything from the oldest on; the offset that is known; items and bytes at most.
local t, why = tenure(KEYS[1])
if not t then return why end
local now, kept, age = clock(), tonumber(ARGV[2]), tonumber(ARGV[3])
local h = history(KEYS[2])
if not h then
  h = { e = ARGV[1], o = 0, f = 1, a = 0, m = 0 }
  -- Who asks before the first item continues with it. Where memory is full, nothing is remembered for one who asks.
  local made = redis.pcall('HSET', KEYS[2], 'e', h.e, 'o', 0, 'f', 1, 'a', 0, 'm', 0)
  if type(made) == 'number' then redis.call('PEXPIRE', KEYS[2], 2 * age) end
elseif h.o == 0 then
  redis.call('PEXPIRE', KEYS[2], 2 * age)
else
  let_age(KEYS[2], KEYS[3], h, now, age)
end
local first = math.max(h.f, h.o - kept + 1)
local epoch = mix(h.e, t[3])
local from, continues = first, 1
if ARGV[4] ~= '-' then
  local offset = tonumber(ARGV[5])
  if (ARGV[4] == '' or ARGV[4] == epoch) and offset >= first - 1 and offset <= h.o then
    from = offset + 1
  else
    continues = 0
  end
end
local items, left, bytes = {}, tonumber(ARGV[6]), tonumber(ARGV[7])
while left > 0 and from <= h.o do
  -- A few at a time: items may be large.
  local page = redis.call('XRANGE', KEYS[3], from, h.o, 'COUNT', math.min(left, 32))
  if #page == 0 then break end
  for _, found in ipairs(page) do
    local body = found[2][2]
    bytes = bytes - #body
    if bytes < 0 and #items > 0 then
      left = 0
      break
    end
    from = tonumber(string.match(found[1], '^(%d+)')) + 1
    items[#items + 1] = from - 1
    items[#items + 1] = body
    left = left - 1
  end
end
return { epoch, h.o, continues, items }
