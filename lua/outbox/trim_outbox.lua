#!lua flags=allow-oom
-- Trims the outbox: the ledger has what goes. Fenced, since a late call must not trim what another generation wrote.
--
-- May run while Redis is full (allow-oom): it only deletes.
--
-- KEYS: partition outbox
-- ARGV: 1 generation   2 sequence up to which the ledger is durable   3 first sequence that stays
-- Reply: ok | closed, why, detail
-- Cost: O(entries that go).

local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
redis.call('XTRIM', KEYS[2], 'MINID', ARGV[3] .. '-0')
return { 'ok' }
