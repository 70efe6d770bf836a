#!lua flags=allow-oom
-- Puts the numbers to rest that may have been given in the seconds that nobody knows of.
--
-- They are those that the policy would have given next. They rest a whole cooldown, and at most half of the free ones
-- do: a small pool must not run dry.
--
-- A `random` pool draws by the sequence, so its next numbers are those of the next sequences, whoever they went to.
--
-- May run while Redis is full (allow-oom): recovery must not wait for room.
--
-- KEYS: partition pool free cool block
-- ARGV: 1 generation   2 how many   3 how many sequences, for `random`
-- Reply: ok, how many were put to rest | unprovisioned | closed, why, detail
-- Cost: O(numbers log runs + cooling).

local refusal, seq, seed = build_fence(KEYS[1], ARGV[1])
if refusal then
  return refusal
end
local keys = { pool = KEYS[2], free = KEYS[3], cool = KEYS[4], block = KEYS[5] }
local pool = load_pool(keys.pool)
if not pool then
  return { 'unprovisioned' }
end
if pool.cooldown == 0 then
  return { 'ok', 0 }
end
local now = clock_ms()
while settle(keys, pool, now, 64) do end

local free = 0
local runs = redis.call('ZRANGE', keys.free, 0, -1, 'WITHSCORES')
for i = 1, #runs, 2 do
  free = free + runs[i] - runs[i + 1] + 1
end
local limit = math.min(tonumber(pool.policy == 'r' and ARGV[3] or ARGV[2]), math.floor(free / 2))
local free_at = now + pool.cooldown * 1000
for i = 0, limit - 1 do
  local n, run = choose(keys.free, pool, seq + i, seed)
  if not n then
    break
  end
  local after = take(keys.free, n, run)
  rest(keys.cool, n, free_at)
  if pool.policy == 's' then
    pool.cursor = after
  end
end
if pool.policy == 's' and limit > 0 then
  redis.call('HSET', keys.pool, 'cur', pool.cursor)
end
return { 'ok', limit }
