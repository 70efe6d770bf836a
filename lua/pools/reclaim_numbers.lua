#!lua
-- Puts leaked numbers to rest for a whole cooldown: numbers of the pool that are neither free, live nor cooling.
--
-- Takes only what it can prove here and now; what the caller believed before does not count.
--
-- KEYS: partition outbox pool free cool block order
-- ARGV: 1 generation   2 highest sequence known   3 restaurant   4 context   5... numbers, at most 100
-- Reply: ok, sequence, the numbers that were reclaimed | closed, why, detail
-- Cost: O(live + cooling + numbers log runs).

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local pool = load_pool(KEYS[3])
if not pool then
  return { 'ok', seq - 1 }
end

local keys = { free = KEYS[4], cool = KEYS[5] }
local held = {}
for _, packed in ipairs(redis.call('HVALS', KEYS[7])) do
  held[number_of(packed)] = true
end
for _, number in ipairs(redis.call('ZRANGE', KEYS[5], 0, -1)) do
  held[tonumber(number)] = true
end

local now, stamp = read_clock(last_stamp)
local free_at = now + pool.cooldown * 1000
local packed = {}
local reply = { 'ok', seq - 1 }
for i = 5, #ARGV do
  local n = tonumber(ARGV[i])
  local is_kept = pool.special and is_reserved(pool, n)
  if not held[n] and not is_kept and in_pool(pool, KEYS[6], n) and not run_of(keys, pool, n) then
    rest(keys, pool, n, free_at)
    held[n] = true -- a caller may name a number twice
    reply[#reply + 1] = n
    packed[#packed + 1] = struct.pack('>I3', n)
  end
end
if #packed > 0 then
  reply[2] = seq
  append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'reclaimed', stamp, ARGV[3], table.concat(packed), '', free_at,
    ARGV[4])
end
return reply
