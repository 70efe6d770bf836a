#!lua flags=allow-oom
-- Brings idempotency keys back, all of one bucket.
--
-- May run while Redis is full (allow-oom): recovery must not wait for room.
--
-- KEYS: partition, then idem of each bucket: there is one
-- ARGV: 1 generation   2 when the bucket goes, ms
--       3... digest of the key (16 B), order id and digest of the body (32 B)
-- Reply: ok | closed, why, detail
-- Cost: O(keys).

local refusal = build_fence(KEYS[1], ARGV[1], true)
if refusal then
  return refusal
end
for i = 3, #ARGV, 2 do
  redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIREAT', KEYS[2], ARGV[2])
return { 'ok' }
