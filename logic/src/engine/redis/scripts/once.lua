-- What is known of a call that stores no item, or of its answer.
-- KEYS: once. ARGV: 'claim', 'keep' or 'answer'; print; how long a key is remembered; the answer.
local what, print = ARGV[1], ARGV[2]
local once = redis.call('HMGET', KEYS[1], 'p', 'a')
if once[1] and once[1] ~= print then return { 'other' } end
if what == 'keep' then
  if ARGV[4] == '' then
    -- Nothing came of it, and it may be made again.
    redis.call('DEL', KEYS[1])
    return { 'kept' }
  end
  redis.call('HSET', KEYS[1], 'p', print, 'a', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return { 'kept' }
end
if once[2] then return { 'answered', once[2] } end
if what == 'answer' then return { 'none' } end
if once[1] then return { 'running' } end
redis.call('HSET', KEYS[1], 'p', print)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 'new' }
