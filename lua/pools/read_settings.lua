#!lua flags=no-writes
-- Reads a restaurant's settings at one instant. Changes nothing.
--
-- A script, because it asks the fence, and because a full Redis refuses MULTI even for reads.
--
-- KEYS: partition pool block
-- ARGV: 1 generation   2 highest sequence known
-- Reply: ok, the pool (see lib/describe), blocked numbers | unprovisioned | closed, why, detail
-- Cost: O(blocked).

local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local pool = describe(KEYS[2])
if not pool then
  return { 'unprovisioned' }
end
return { 'ok', pool, redis.call('SMEMBERS', KEYS[3]) }
