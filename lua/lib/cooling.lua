-- Resting numbers: a sorted set, number → when it is free again, in ms.

-- Puts n among them until then. Where nothing that rests ends before, the pool learns when to look.
local function place_at_rest(keys, pool, n, until_ms)
  redis.call('ZADD', keys.cool, decimal(until_ms, 0), n)
  if until_ms < pool.due then
    pool.due = until_ms
    redis.call('HSET', pool.key, 'day', pack_day(pool))
  end
end

-- Puts n to rest until `free_at`.
local function rest(keys, pool, n, free_at)
  place_at_rest(keys, pool, n, pool.special and lies_until(pool, n, free_at) or free_at)
end

-- When the rest of n ends or ended, in ms; nil where it does not rest.
local function rest_of(keys, pool, n)
  local free_at = redis.call('ZSCORE', keys.cool, n)
  if not free_at then
    return nil
  end
  if pool.special then
    local until_ms, own_end = quarantine_of(pool, n)
    if until_ms then
      return own_end > 0 and own_end or nil
    end
  end
  return tonumber(free_at)
end
