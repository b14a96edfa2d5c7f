-- A node says that it lives and how far it saw the store come; opens a tenure after a restart or a failover.
-- KEYS: tenure, fence.
-- ARGV: token, '1' to write, for how long a fence stands, grace, a new term, a new generation; then what was seen: term,
-- number, term, number.
--
-- A vote lasts for the grace, or until somebody has seen more than is here. Then epochs change (a new generation), and
-- also if nobody can say: who vouches keeps them.
local role, replid = run()
if role ~= 'master' then return redis.error_reply(REPLICA) end
local token, fence = tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[2]) or '0')
if fence > token then return redis.error_reply(FENCED) end
if fence < token or ARGV[2] == '1' then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3]) end

local t = redis.call('HMGET', KEYS[1],
  'replid', 'term', 'gen', 'seq', 'closed', 'vreplid', 'vstart', 'vgood', 'vbad')
local now, is_new = clock(), not t[1]
local is_open, seq = t[1] == replid and t[2], tonumber(t[4] or '0')
-- Terms that are over, the oldest first, and how far each came.
local closed, order, is_changed = {}, {}, false
for term, at in string.gmatch(t[5] or '', '(%x+):(%d+)') do
  closed[term] = tonumber(at)
  order[#order + 1] = term
end
local function close(term, at)
  if not closed[term] then order[#order + 1] = term end
  closed[term] = math.max(at, closed[term] or 0)
  is_changed = true
end
local is_first = not is_open and t[6] ~= replid
if is_first and t[2] then close(t[2], seq) end

local good, bad = t[8] == '1' and not is_first, t[9] == '1' and not is_first
if is_open then good, bad = false, false end
for at = 7, #ARGV, 2 do
  local term, saw = ARGV[at], tonumber(ARGV[at + 1])
  if is_open and term == t[2] then
    if saw > seq then
      bad, seq = true, saw
      redis.call('HSET', KEYS[1], 'seq', saw)
    end
  elseif closed[term] and saw <= closed[term] then
    good = true
  else
    -- Remembered, so that who repeats it is not taken for news.
    bad = true
    close(term, saw)
  end
end

if is_changed then
  local said = {}
  for at = math.max(1, #order - 63), #order do
    said[#said + 1] = order[at] .. ':' .. string.format('%.0f', closed[order[at]])
  end
  redis.call('HSET', KEYS[1], 'closed', table.concat(said, ','))
end
local gen, term = t[3], t[2]
if is_open then
  if bad then
    gen = ARGV[6]
    redis.call('HSET', KEYS[1], 'gen', gen)
  end
  return { 'open', term, gen, seq, bad and 1 or 0 }
end

local start = is_first and now or tonumber(t[7])
if is_new or bad or now < start or now - start >= tonumber(ARGV[4]) then
  term = ARGV[5]
  local is_back = not is_new and (bad or not good)
  if is_new or is_back then gen = ARGV[6] end
  redis.call('HSET', KEYS[1], 'replid', replid, 'term', term, 'gen', gen, 'seq', seq)
  redis.call('HDEL', KEYS[1], 'vreplid', 'vstart', 'vgood', 'vbad')
  return { 'open', term, gen, seq, is_back and 1 or 0 }
end
redis.call('HSET', KEYS[1], 'vreplid', replid, 'vstart', start, 'vgood', good and 1 or 0, 'vbad', 0)
redis.call('HDEL', KEYS[1], 'term')
return { 'voting', '', '', seq, 0 }
