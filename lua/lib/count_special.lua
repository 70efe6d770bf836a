-- Numbers that are kept for tables or were taken out, counted.

-- The numbers that the ranges do not count among theirs: 'kept' for tables, or 'out' and not held.
local function set_apart(keys, pool, now)
  local apart = {}
  if not pool.special then
    return apart
  end
  local function belongs(n)
    return range_at(pool, n) and in_pool(pool, keys.block, n)
  end
  for _, n in ipairs(reserved_numbers(pool)) do
    apart[n] = belongs(n) and 'kept' or nil
  end
  for _, quarantined in ipairs(quarantined_numbers(pool)) do
    local n, until_ms = quarantined[1], quarantined[2]
    if not apart[n] and until_ms > now and belongs(n) and not is_held(keys, keys.order, n) then
      apart[n] = 'out'
    end
  end
  return apart
end

-- Numbers that are set apart as kept; of all that are kept how many are held by orders, and how many rest; and numbers
-- that are set apart as out.
local function count_special(keys, pool, now)
  local counted, live, resting = { kept = 0, out = 0 }, 0, 0
  for _, why in pairs(set_apart(keys, pool, now)) do
    counted[why] = counted[why] + 1
  end
  for _, n in ipairs(reserved_numbers(pool)) do
    if is_held(keys, keys.order, n) then
      live = live + 1
    elseif tonumber(redis.call('ZSCORE', keys.cool, n) or 0) > now then
      resting = resting + 1
    end
  end
  return { counted.kept, live, resting, counted.out }
end
