-- n + step as a decimal.
local function decimal(n, step)
  return string.format('%d', n + step)
end

-- Takes n, a decimal, out of the run that it is in, { last, first }; answers with the number behind it.
local function take(free, n, run)
  local last, first, after = run[1], run[2], decimal(n, 1)
  if n == last then
    redis.call('ZREM', free, last)
  else
    redis.call('ZADD', free, after, last)
  end
  if n ~= first then
    redis.call('ZADD', free, first, decimal(n, -1))
  end
  return after
end

-- Gives n back, joined with its neighbours. A run is never joined across the cursor of a sequential pool: the cursor
-- would lie inside the run, and the ring would skip to its end.
local function give(free, n, cursor)
  n = decimal(n, 0)
  local first, last, after = n, n, decimal(n, 1)
  if n ~= cursor then
    local before = decimal(n, -1)
    local left = redis.call('ZSCORE', free, before)
    if left then
      first = left
      redis.call('ZREM', free, before)
    end
  end
  if after ~= cursor then
    last = redis.call('ZRANGEBYSCORE', free, after, after)[1] or n
  end
  redis.call('ZADD', free, first, last)
end
