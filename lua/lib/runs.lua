-- Takes n out of the run that it is in, { last, first }.
local function take(free, n, run)
  local last, first = run[1], run[2]
  local is_first, is_last = n == tonumber(first), n == tonumber(last)
  if is_last then
    redis.call('ZREM', free, last)
  else
    redis.call('ZADD', free, n + 1, last)
  end
  if not is_first then
    redis.call('ZADD', free, first, n - 1)
  end
end

-- Gives n back, joined with its neighbours. A run is never joined across the cursor of a sequential pool: the cursor
-- would lie inside the run, and the ring would skip to its end.
local function give(free, n, cursor)
  local first, last = n, n
  if n ~= cursor then
    local before = string.format('%d', n - 1)
    local left = redis.call('ZSCORE', free, before)
    if left then
      first = left
      redis.call('ZREM', free, before)
    end
  end
  if n + 1 ~= cursor then
    local after = string.format('%d', n + 1)
    last = redis.call('ZRANGEBYSCORE', free, after, after)[1] or n
  end
  redis.call('ZADD', free, first, last)
end
