#!lua
-- Notes the oldest live order of a pool that has many, after its ids were walked outside of scripts.
--
-- Before the walk a token is noted, which is no order. What adds an older order takes away what is noted, and then the
-- walk has not seen it: nothing is noted.
--
-- KEYS: partition pool order
-- ARGV: 1 generation   2 highest sequence known   3 token   4 order id (16 B), or '' to begin
-- Reply: ok | moved | closed, why, detail
-- Cost: O(1).

local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
if ARGV[4] == '' then
  redis.call('HSET', KEYS[2], 'old', ARGV[3])
  return { 'ok' }
end
if redis.call('HGET', KEYS[2], 'old') ~= ARGV[3] or redis.call('HEXISTS', KEYS[3], ARGV[4]) == 0 then
  return { 'moved' }
end
redis.call('HSET', KEYS[2], 'old', ARGV[4])
return { 'ok' }
