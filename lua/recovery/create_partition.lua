#!lua
-- Opens a partition on a server that holds nothing of it yet.
--
-- KEYS: partition
-- ARGV: 1 generation   2 seed of the random policy (16 B)   3 run_id of the server
-- Reply: ok | exists, generation, sequence
-- Cost: O(1).

local head = redis.call('HMGET', KEYS[1], 'gen', 'seq')
if head[1] then
  return { 'exists', head[1], head[2] }
end
redis.call('HSET', KEYS[1], 'gen', ARGV[1], 'layout', 'v' .. LAYOUT, 'seq', 0, 'seed', ARGV[2], 'run_id', ARGV[3])
return { 'ok' }
