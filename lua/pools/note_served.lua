#!lua
-- Notes what no served order of a pool is older than, after its live orders were walked outside of scripts.
--
-- Before the walk a token is noted, which is no instant. What adds an order that may have been served before takes away
-- what is noted, and then the walk has not seen it: nothing is noted.
--
-- KEYS: partition pool
-- ARGV: 1 generation   2 highest sequence known   3 token   4 instant, ms, or '' to begin
-- Reply: ok, stamp of this moment: what is served from now on is so later | moved | closed, why, detail
-- Cost: O(1).

local refusal, _, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local _, stamp = read_clock(last_stamp)
local token = 't' .. ARGV[3]
if ARGV[4] == '' then
  redis.call('HSET', KEYS[2], 'sv', token)
  return { 'ok', stamp }
end
if redis.call('HGET', KEYS[2], 'sv') ~= token then
  return { 'moved' }
end
redis.call('HSET', KEYS[2], 'sv', ARGV[4])
return { 'ok', stamp }
