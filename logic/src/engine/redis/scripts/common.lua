-- What all scripts begin with. Keys of one call share a hash tag, so each script runs whole on one node of a Cluster.

-- The role of this server and the name of its run: another after each restart and each failover.
local function run()
  local info = redis.call('INFO', 'replication')
  return string.match(info, 'role:(%a+)'), string.match(info, 'master_replid:(%x+)')
end

-- Milliseconds since 1970, on the one clock that all nodes share.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Two numbers of 64 bits in hex, mixed: the epoch that is shown is the one stored, mixed with the generation.
local function mix(a, b)
  local high = bit.bxor(tonumber(string.sub(a, 1, 8), 16), tonumber(string.sub(b, 1, 8), 16))
  local low = bit.bxor(tonumber(string.sub(a, 9, 16), 16), tonumber(string.sub(b, 9, 16), 16))
  return bit.tohex(high) .. bit.tohex(low)
end

local REPLICA = 'REPLICA this server is a replica'
local FENCED = 'FENCED another run of this node has taken over'

-- The open tenure: its run, term, generation, floor of the feed. Or the reason why there is none.
local function tenure(key)
  local role, replid = run()
  if role ~= 'master' then return nil, redis.error_reply(REPLICA) end
  local t = redis.call('HMGET', key, 'replid', 'term', 'gen', 'floor')
  if t[1] ~= replid or not t[2] then
    return nil, redis.error_reply('NEWTENURE this server was restarted or promoted')
  end
  return t
end

-- When the item at an offset came; nil: it is not there.
local function born(stream, offset)
  local found = redis.call('XRANGE', stream, offset, offset, 'COUNT', 1)[1]
  return found and tonumber(string.match(found[1], '%-(%d+)'))
end

-- The first item from `first` on that came after `cutoff`, or head + 1. Items came one after the other, so looking
-- further and further ahead, and then between, reads few of them.
local function first_young(stream, first, head, cutoff)
  local function is_young(offset)
    local at = born(stream, offset)
    return at ~= nil and at > cutoff
  end
  local low, high, step = first, head + 1, 1
  while low + step - 1 <= head do
    local probe = low + step - 1
    if is_young(probe) then high = probe break end
    low, step = probe + 1, step * 2
  end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_young(middle) then high = middle else low = middle + 1 end
  end
  return low
end

-- Lets go of what has aged. Of a history: e its epoch, o its head, f its first item, a when the oldest came (or
-- earlier), m when the newest did.
local function let_age(hash, stream, history, now, age)
  if history.f > history.o or history.a + age > now then return end
  local first = first_young(stream, history.f, history.o, now - age)
  if first > history.o then redis.call('DEL', stream) else redis.call('XTRIM', stream, 'MINID', first) end
  history.f = first
  history.a = born(stream, first) or now
  redis.call('HSET', hash, 'f', first, 'a', history.a)
end

local function history(hash)
  local found = redis.call('HMGET', hash, 'e', 'o', 'f', 'a', 'm')
  if not found[1] then return nil end
  return {
    e = found[1], o = tonumber(found[2]), f = tonumber(found[3]), a = tonumber(found[4]), m = tonumber(found[5]),
  }
end
