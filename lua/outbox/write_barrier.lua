#!lua flags=allow-oom
-- Writes a little, so that a wait behind it covers all that was written before.
-- A full server takes it, too: it takes releases, and those are waited for like anything else.
--
-- KEYS: barrier
-- ARGV: none
-- Reply: ok
-- Cost: O(1).

redis.call('SET', KEYS[1], '')
return { 'ok' }
