-- Numbers that are kept for tables or were taken out, counted.

-- Numbers of the ranges that are kept for tables; of all that are kept how many are held by orders, and how many rest;
-- and numbers of the ranges that are taken out and neither held nor kept.
local function count_special(keys, pool, block, orders, now)
  local kept, live, resting, out = 0, 0, 0, 0
  for _, n in ipairs(reserved_numbers(pool)) do
    if range_at(pool, n) then
      kept = kept + 1
    end
    local holder = redis.call('HGET', keys.num, n)
    if holder and redis.call('HEXISTS', orders, holder) == 1 then
      live = live + 1
    elseif tonumber(redis.call('ZSCORE', keys.cool, n) or 0) > now then
      resting = resting + 1
    end
  end
  for _, quarantined in ipairs(quarantined_numbers(pool)) do
    local n, until_ms = quarantined[1], quarantined[2]
    local holder = redis.call('HGET', keys.num, n)
    local is_held = holder and redis.call('HEXISTS', orders, holder) == 1
    if until_ms > now and not is_held and not is_reserved(pool, n) and in_pool(pool, block, n) then
      out = out + 1
    end
  end
  return { kept, live, resting, out }
end
