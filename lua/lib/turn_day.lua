-- How a business date follows another one, as a daemon says it.

-- What a daemon says: the date that it saw 2 B | the one that follows, or the same one 2 B | its end ms 6 B.
local NEXT_DAY = '>I2I2I6'

-- The rings begin anew: the main one at the first number of the settings, others at their own.
local function reset_rings(keys, pool)
  if pool.policy == 's' then
    move_ring(keys, pool, pool, tonumber(redis.call('HGET', pool.key, 'fn') or pool.lo))
  end
  for _, range in ipairs(further_ranges(pool)) do
    if range.policy == 's' then
      move_ring(keys, pool, range, range.lo)
    end
  end
end

-- Goes on to what the daemon says, from the date that is here; false where that does not follow. Answers then whether
-- the rings began anew.
local function turn_day(keys, pool, said, at)
  if said == '' then
    return false
  end
  local before, next_date, ends = struct.unpack(NEXT_DAY, said)
  if before ~= pool.date or next_date < before or ends <= at then
    return false
  end
  -- One that is here goes on, however far it is: a clock that was wrong for a while must not stop the orders.
  if next_date > before and not is_near(next_date, at) then
    return false
  end
  local was_reset = false
  if next_date > before then
    pool.daily = take_ahead(pool, next_date)
    if before > 0 and has(pool.rules, RESETS_DAILY) then
      reset_rings(keys, pool)
      was_reset = true
    end
  end
  pool.date, pool.ends = next_date, ends
  redis.call('HSET', pool.key, 'day', pack_day(pool))
  return true, was_reset
end
