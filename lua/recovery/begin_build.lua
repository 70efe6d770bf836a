#!lua flags=allow-oom
-- Begins to build a generation: the outbox begins anew behind what the ledger has, and only its builder is served.
--
-- KEYS: partition outbox
-- ARGV: 1 generation   2 sequence to go on from   3 seed of the random policy (16 B)   4 run_id of the server
--       5 '1': what is here stays, so it must be at that sequence   6 the ledger's last stamp, ms
-- Reply: ok | closed, why, detail
-- Cost: O(entries of the outbox).

local head = redis.call('HMGET', KEYS[1], 'gen', 'building', 'seq', 'at')
if head[1] and head[1] ~= '0' or tonumber(head[2] or '0') > tonumber(ARGV[1]) then
  return { 'closed', 'generation', head[2] or head[1] }
end
if head[2] == ARGV[1] then
  return { 'ok' } -- a repeat, perhaps a late one: what was said since stays
end
if ARGV[5] ~= '1' then
  redis.call('HDEL', KEYS[1], 'tells')
elseif head[3] ~= ARGV[2] then
  return { 'closed', 'behind', head[3] or '' } -- emptied since it was looked at
end
redis.call('DEL', KEYS[2])
-- Stamps go on from the later one, whichever of the two has lost something.
local at = math.max(tonumber(head[4] or 0), tonumber(ARGV[6]))
redis.call('HSET', KEYS[1], 'gen', '0', 'building', ARGV[1], 'layout', 'v' .. LAYOUT, 'seq', ARGV[2], 'at', at,
  'seed', ARGV[3], 'run_id', ARGV[4])
return { 'ok' }
