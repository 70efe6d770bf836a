-- Resting numbers: a sorted set, number → when it is free again, in ms.

-- Puts n to rest until `free_at`. Where nothing that rests ends before, the pool learns when to look.
local function rest(keys, pool, n, free_at)
  redis.call('ZADD', keys.cool, string.format('%d', free_at), n)
  if free_at < pool.due then
    pool.due = free_at
    redis.call('HSET', pool.key, 'day', pack_day(pool))
  end
end

-- When the rest of n ends or ended, in ms; nil where it is not among the resting ones.
local function rest_of(cool, n)
  local free_at = redis.call('ZSCORE', cool, n)
  return free_at and tonumber(free_at) or nil
end
