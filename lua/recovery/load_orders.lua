#!lua flags=allow-oom
-- Gives a loaded restaurant its settings, as the ledger has them, and lays out its free numbers.
--
-- In a generation that is open already, only where it has none.
--
-- May run while Redis is full (allow-oom): recovery must not wait for room.
--
-- KEYS: partition pool free cool block order restaurants
-- ARGV: 1 generation   2 restaurant   3 version of the settings   4 first number   5 last number   6 policy (s l r)
--       7 cooldown s   8 active window s   9 format
--       10 runs of the range that are not blocked, ascending: first and last, with spaces between them
--       11 members of the block set, with spaces between them   12 number that was given last, or 0
-- Reply: ok | closed, why, detail
-- Cost: O(held log held + blocked + runs).

local refusal = build_fence(KEYS[1], ARGV[1], true)
if refusal then
  return refusal
end
if redis.call('HGET', KEYS[1], 'gen') == ARGV[1] and redis.call('HEXISTS', KEYS[2], 'set') == 1 then
  return { 'ok' }
end
local keys = { pool = KEYS[2], free = KEYS[3], cool = KEYS[4], block = KEYS[5], order = KEYS[6] }
local lo, hi, policy = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local cursor = 0
if policy == 's' then
  cursor = tonumber(ARGV[12]) + 1
  if cursor < lo or cursor > hi then
    cursor = lo
  end
end
local blocked_inside = lay_out(keys, lo, hi, ARGV[10], ARGV[11], cursor)
redis.call('HSET', keys.pool, 'v', ARGV[3], 'win', ARGV[8], 'set',
  pack_settings(lo, hi, blocked_inside, tonumber(ARGV[7]), policy, ARGV[9]))
redis.call('SADD', KEYS[7], ARGV[2])
return { 'ok' }
