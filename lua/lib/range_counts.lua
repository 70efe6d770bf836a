-- The numbers of each range by state, for pools that have further ranges.

-- What is walked, and of each range, the main one first, four counts in one list: its numbers that are walked, those
-- that rest, of these those with their rest over, and numbers that are set apart. What is walked is `free` (runs of
-- free numbers) or `live` (live orders), whichever are fewer; the other is the rest of the range. Retiring numbers are
-- counted nowhere.
local function count_ranges(keys, pool, now, has_retiring_live, has_retiring_cooling)
  local ranges = { pool, unpack(further_ranges(pool)) }
  local walked, resting, over, set_aside = {}, {}, {}, {}
  for _, range in ipairs(ranges) do
    walked[range], resting[range], over[range], set_aside[range] = 0, 0, 0, 0
  end
  local apart = set_apart(keys, pool, now)
  for n in pairs(apart) do
    local range = range_at(pool, n)
    set_aside[range] = set_aside[range] + 1
  end
  local what = redis.call('ZCARD', keys.free) > redis.call('HLEN', keys.order) and 'live' or 'free'
  if what == 'live' then
    for _, packed in ipairs(redis.call('HVALS', keys.order)) do
      local n = number_of(packed)
      local range = range_at(pool, n)
      if range and not apart[n] and (not has_retiring_live or in_pool(pool, keys.block, n)) then
        walked[range] = walked[range] + 1
      end
    end
  else
    local runs = all_runs(keys, pool)
    for i = 1, #runs, 2 do
      local range = range_at(pool, tonumber(runs[i]))
      if range then
        walked[range] = walked[range] + runs[i] - runs[i + 1] + 1
      end
    end
  end
  local cooling = redis.call('ZRANGE', keys.cool, 0, -1, 'WITHSCORES')
  for i = 1, #cooling, 2 do
    local n = tonumber(cooling[i])
    local range = range_at(pool, n)
    if range and not apart[n] and (not has_retiring_cooling or in_pool(pool, keys.block, n)) then
      resting[range] = resting[range] + 1
      if tonumber(cooling[i + 1]) <= now then
        over[range] = over[range] + 1
      end
    end
  end
  local counts = {}
  for _, range in ipairs(ranges) do
    for _, count in ipairs({ walked[range], resting[range], over[range], set_aside[range] }) do
      counts[#counts + 1] = count
    end
  end
  return what, counts
end
