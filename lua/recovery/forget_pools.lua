#!lua flags=allow-oom
-- Forgets a restaurant that the generation before had and the ledger does not: nothing of it may be served.
--
-- May run while Redis is full (allow-oom): it only deletes.
--
-- KEYS: partition restaurants pool free cool block order num done [idem...]
-- ARGV: 1 generation   2 restaurant
-- Reply: ok | closed, why, detail
-- Cost: O(what is there).

local refusal = build_fence(KEYS[1], ARGV[1])
if refusal then
  return refusal
end
for i = 3, #KEYS do
  redis.call('DEL', KEYS[i])
end
redis.call('SREM', KEYS[2], ARGV[2])
return { 'ok' }
