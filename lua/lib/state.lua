-- What one number is doing.

-- free, live, cooling, quarantined, reserved, blocked, retiring or outside.
local function state_of(keys, pool, orders, n, now)
  local inside = in_pool(pool, keys.block, n)
  if is_held(keys, orders, n) then
    return inside and 'live' or 'retiring'
  end
  if inside and run_of(keys, pool, n) then
    return 'free'
  end
  local until_ms = pool.special and quarantine_of(pool, n)
  if until_ms and until_ms > now then
    return 'quarantined'
  end
  local free_at = rest_of(keys, pool, n)
  if free_at and free_at > now then
    return inside and 'cooling' or 'retiring'
  end
  if pool.special and is_reserved(pool, n) then
    return 'reserved'
  end
  if not range_at(pool, n) then
    return 'outside'
  end
  return inside and 'free' or 'blocked'
end
