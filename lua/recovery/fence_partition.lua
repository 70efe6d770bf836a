#!lua flags=allow-oom
-- Fences a partition off: from now on no call under its present generation is served, wherever it comes from.
--
-- May run while Redis is full (allow-oom): recovery must not wait for room.
--
-- KEYS: partition
-- ARGV: 1 generation that is fenced off   2 run_id of the server that this is done on
-- Reply: ok, sequence | empty | moved, generation that is there
-- Cost: O(1).

local head = redis.call('HMGET', KEYS[1], 'gen', 'seq')
if not head[1] then
  return { 'empty' }
end
if head[1] == '0' then
  return { 'ok', head[2] } -- fenced off before
end
if head[1] ~= ARGV[1] then
  return { 'moved', head[1] }
end
redis.call('HSET', KEYS[1], 'gen', '0', 'fenced', ARGV[1], 'fenced_on', ARGV[2])
return { 'ok', head[2] }
