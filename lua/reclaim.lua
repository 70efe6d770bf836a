#!lua
-- Puts leaked numbers to rest for a whole cooldown: numbers of the pool that are neither free, live nor cooling.
--
-- Takes only what it can prove here and now; what the caller believed before does not count.
--
-- KEYS: partition pool free cool block order
-- ARGV: 1 generation   2 highest sequence known   3... numbers, at most 100
-- Reply: ok, the numbers that were reclaimed | closed, why, detail
-- Cost: O(live + cooling + numbers log runs).

local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local pool = load_pool(KEYS[2])
if not pool then
  return { 'ok' }
end

local held = {}
for _, packed in ipairs(redis.call('HVALS', KEYS[6])) do
  held[unpack_record(packed).number] = true
end
for _, entry in ipairs(redis.call('LRANGE', KEYS[4], 0, -1)) do
  local _, number = struct.unpack(COOLING, entry)
  held[number] = true
end

local free_at = clock_ms() + pool.cooldown * 1000
local reply = { 'ok' }
for i = 3, #ARGV do
  local n = tonumber(ARGV[i])
  if not held[n] and in_pool(pool, KEYS[5], n) and not run_of(KEYS[3], n) then
    rest(KEYS[4], n, free_at)
    held[n] = true -- a caller may name a number twice
    reply[#reply + 1] = n
  end
end
return reply
