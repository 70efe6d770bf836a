-- Free numbers, all of them.

-- All free numbers as the set would have them: last, first, last, first …; the runs in use behind the others.
local function all_runs(keys, pool)
  local runs = redis.call('ZRANGE', keys.free, 0, -1, 'WITHSCORES')
  local function add(range)
    load_ring(pool, range)
    if range.cursor <= range.last then
      runs[#runs + 1] = decimal(range.last, 0)
      runs[#runs + 1] = decimal(range.cursor, 0)
    end
  end
  add(pool)
  for _, range in ipairs(further_ranges(pool)) do
    add(range)
  end
  return runs
end
