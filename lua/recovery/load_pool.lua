#!lua flags=allow-oom
-- Loads a piece of a restaurant into a generation that is being built: live orders and resting numbers.
--
-- Each piece may come twice, or late: what is there then, this generation has loaded or learnt since, and it stays.
--
-- May run while Redis is full (allow-oom): recovery must not wait for room.
--
-- KEYS: partition pool free cool block order num done [idem...]
--   The idem keys, with the first piece, are the buckets that were there before.
-- ARGV: 1 generation   2 '1': the first piece, before which everything is forgotten
--       3 how many resting numbers the pieces before have loaded: a repeat of this one loads none again
--       4 resting numbers: free again at ms 6 B, number 3 B, cooldown s if it is not the pool's 4 B (0: it is) each
--       5... live orders: id (16 B), packed
-- Reply: ok | closed, why, detail
-- Cost: O(orders + resting numbers).

local refusal = build_fence(KEYS[1], ARGV[1])
if refusal then
  return refusal
end
if ARGV[2] == '1' and redis.call('HGET', KEYS[2], 'ld') ~= ARGV[1] then
  for i = 2, #KEYS do
    redis.call('DEL', KEYS[i])
  end
  redis.call('HSET', KEYS[2], 'ld', ARGV[1])
end
if redis.call('ZCARD', KEYS[4]) == tonumber(ARGV[3]) then
  for at = 1, #ARGV[4], 13 do
    local free_at, n, cooldown = struct.unpack('>I6I3I4', ARGV[4], at)
    redis.call('ZADD', KEYS[4], string.format('%d', free_at), n)
    if cooldown > 0 then
      redis.call('HSET', KEYS[2], odd_field(n), struct.pack(ODD_REST, cooldown, free_at))
    end
  end
end
for i = 5, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[8], ARGV[i]) == 0 then
    redis.call('HSETNX', KEYS[6], ARGV[i], ARGV[i + 1])
    redis.call('HSETNX', KEYS[7], number_of(ARGV[i + 1]), ARGV[i])
  end
end
return { 'ok' }
