-- What one number is doing.

-- free, live, cooling, blocked, retiring or outside.
local function state_of(keys, pool, orders, n, now)
  local inside = in_pool(pool, keys.block, n)
  local holder = redis.call('HGET', keys.num, n)
  if holder and redis.call('HEXISTS', orders, holder) == 1 then
    return inside and 'live' or 'retiring'
  end
  if inside and run_of(keys, pool, n) then
    return 'free'
  end
  local free_at = rest_of(keys.cool, n)
  if free_at and free_at > now then
    return inside and 'cooling' or 'retiring'
  end
  if not range_at(pool, n) then
    return 'outside'
  end
  return inside and 'free' or 'blocked'
end
