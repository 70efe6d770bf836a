#!lua flags=allow-oom
-- Opens the generation that was built.
--
-- KEYS: partition
-- ARGV: 1 generation
-- Reply: ok, sequence | closed, why, detail
-- Cost: O(1).

local head = redis.call('HMGET', KEYS[1], 'gen', 'seq')
if head[1] == ARGV[1] then
  return { 'ok', head[2] } -- a repeat
end
local refusal = build_fence(KEYS[1], ARGV[1])
if refusal then
  return refusal
end
redis.call('HSET', KEYS[1], 'gen', ARGV[1])
redis.call('HDEL', KEYS[1], 'building', 'fenced', 'fenced_on', 'invites', 'tells')
return { 'ok', head[2] }
