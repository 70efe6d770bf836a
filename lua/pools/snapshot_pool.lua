#!lua flags=no-writes
-- Reads all of a restaurant at one instant, for the proof that every number is in one state. Changes nothing.
--
-- KEYS: partition pool free cool block order num done
-- ARGV: 1 generation   2 highest sequence known
-- Reply: ok, next sequence, the pool (see lib/describe), blocked numbers, runs of free numbers, cooling, live, kept,
--        holders, last stamp ms, fields of the pool's hash | unprovisioned | closed, why, detail
-- Cost: O(numbers that are not free).

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local pool = describe(KEYS[2])
if not pool then
  return { 'unprovisioned' }
end
local keys = { free = KEYS[3] }
return {
  'ok', seq, pool, redis.call('SMEMBERS', KEYS[5]), all_runs(keys, load_pool(KEYS[2])),
  redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[6]), redis.call('HGETALL', KEYS[8]),
  redis.call('HGETALL', KEYS[7]), last_stamp or '0',
  redis.call('HGETALL', KEYS[2]),
}
