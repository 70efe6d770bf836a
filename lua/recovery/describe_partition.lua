#!lua flags=allow-oom
-- Notes that Redis holds more than the ledger, which fell back: until this is told, nothing here may be forgotten.
--
-- Noted before the ledger gives the generation out, whose builder may die before it has told everything: by then the
-- ledger looks as if it had it.
--
-- KEYS: partition
-- ARGV: 1 generation that is about to be built
-- Reply: ok | closed, why, detail
-- Cost: O(1).

local head = redis.call('HMGET', KEYS[1], 'gen', 'building')
if head[1] ~= '0' or tonumber(head[2] or '0') > tonumber(ARGV[1]) then
  return { 'closed', 'generation', head[2] or head[1] or '' }
end
redis.call('HSET', KEYS[1], 'tells', ARGV[1])
return { 'ok' }
