-- Free numbers. They lie in runs, in two places that only this file knows: the run that a sequential range is using up
-- (see lib/run_in_use), and all others in a sorted set (member = last number, score = first). Nothing of it has the
-- cursor of a ring inside, so that the ring goes on there.

-- The run of the set that begins at n or before it, { last, first }; empty where there is none.
local function run_before(free, n)
  return redis.call('ZREVRANGEBYSCORE', free, n, '-inf', 'WITHSCORES', 'LIMIT', '0', '1')
end

-- The run that n is in: one of the set, or the range itself where it is the one in use; nil where n is not free.
local function run_of(keys, pool, n)
  local range = range_at(pool, n)
  if not range then
    return nil
  end
  load_ring(pool, range)
  if n >= range.cursor and n <= range.last then
    return range
  end
  local run = run_before(keys.free, n)
  return run[1] and tonumber(run[1]) >= n and run or nil
end

-- Takes n out of its run, wherever that is. The ring does not move.
local function take(keys, pool, n, run)
  if run.cursor then
    if n < run.last then
      redis.call('ZADD', keys.free, decimal(n, 1), decimal(run.last, 0))
    end
    run.last = n - 1
    store_ring(pool, run)
    return
  end
  local last, first = run[1], run[2]
  if n == tonumber(last) then
    redis.call('ZREM', keys.free, last)
  else
    redis.call('ZADD', keys.free, decimal(n, 1), last)
  end
  if n ~= tonumber(first) then
    redis.call('ZADD', keys.free, first, decimal(n, -1))
  end
end

-- Gives n back, which belongs to the pool, joined with its neighbours; false where it is free already. A run is never
-- joined across the cursor, which would lie inside it, nor across the border of a range.
local function give(keys, pool, n)
  if pool.special and keeps(keys, pool, n) then
    return true
  end
  local range = range_at(pool, n)
  load_ring(pool, range)
  if n >= range.cursor and n <= range.last then
    return false
  end
  local text = decimal(n, 0)
  local first, last = text, text
  local left = run_before(keys.free, text)
  if left[1] then
    local end_of_left = tonumber(left[1])
    if end_of_left >= n then
      return false
    end
    if end_of_left == n - 1 and n ~= range.cursor and n ~= range.lo then
      first = left[2]
      redis.call('ZREM', keys.free, left[1])
    end
  end
  if n + 1 ~= range.cursor and n ~= range.hi then
    local after = decimal(n, 1)
    last = redis.call('ZRANGEBYSCORE', keys.free, after, after)[1] or text
  end
  redis.call('ZADD', keys.free, first, last)
  return true
end
