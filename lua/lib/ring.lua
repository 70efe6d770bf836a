-- The ring of a sequential range, moved to another number.

-- Lets the cursor be a border of runs of the set.
local function split_at_cursor(keys, range)
  local run = run_before(keys.free, range.cursor)
  if run[1] and tonumber(run[1]) >= range.cursor and tonumber(run[2]) < range.cursor then
    redis.call('ZADD', keys.free, run[2], decimal(range.cursor, -1), decimal(range.cursor, 0), run[1])
  end
end

-- Puts the rest of the run in use back into the set, joined, and lets the ring go on at n.
local function move_ring(keys, pool, range, n)
  load_ring(pool, range)
  local first, last = range.cursor, range.last
  if first <= last then
    local left = run_before(keys.free, first)
    if left[1] and tonumber(left[1]) == first - 1 and first ~= range.lo then
      redis.call('ZREM', keys.free, left[1])
      first = tonumber(left[2])
    end
    local after = decimal(last, 1)
    local right = last ~= range.hi and redis.call('ZRANGEBYSCORE', keys.free, after, after)[1]
    redis.call('ZADD', keys.free, decimal(first, 0), right or decimal(last, 0))
  end
  range.cursor, range.last = n, n - 1
  split_at_cursor(keys, range)
  store_ring(pool, range)
end
