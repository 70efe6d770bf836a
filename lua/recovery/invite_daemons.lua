#!lua flags=allow-oom
-- Invites every daemon to say again what it remembers: all that the ledger has is loaded.
--
-- KEYS: partition
-- ARGV: 1 generation
-- Reply: ok | closed, why, detail
-- Cost: O(1).

local refusal = build_fence(KEYS[1], ARGV[1])
if refusal then
  return refusal
end
redis.call('HSET', KEYS[1], 'invites', ARGV[1])
return { 'ok' }
