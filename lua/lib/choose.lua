-- Picking a number, and taking it where a ring goes on.

-- The first run of the set within a range that begins at `from` or behind it.
local function run_from(free, pool, range, from)
  local to = has(pool.rules, HAS_RANGES) and range.hi or '+inf'
  return redis.call('ZRANGEBYSCORE', free, decimal(from, 0), to, 'WITHSCORES', 'LIMIT', '0', '1')
end

-- Chooses the next number of a range, and the run that it is in (see run_of); nil when nothing is free there. Changes
-- nothing.
local function choose(keys, pool, range, seq)
  if range.policy == 'r' then
    -- A keyed hash of the sequence, so that recovery knows which numbers would have come next. 13 hex digits are 52
    -- bits: all that a Lua number holds. Where the number drawn is not free, the run before it gives its first one.
    local hash = redis.sha1hex(redis.call('HGET', keys.partition, 'seed') .. decimal(seq, 0))
    local drawn = range.lo + tonumber(string.sub(hash, 1, 13), 16) % (range.hi - range.lo + 1)
    local run = run_before(keys.free, drawn)
    if run[1] and tonumber(run[2]) >= range.lo then
      return tonumber(run[1]) >= drawn and drawn or tonumber(run[2]), run
    end
  elseif range.policy == 's' then
    if not range.cursor then
      load_ring(pool, range)
    end
    local n = next_in_use(range)
    if n then
      return n, range
    end
    local run = run_from(keys.free, pool, range, range.cursor)
    if run[1] then
      return tonumber(run[2]), run
    end
  end
  local run = run_from(keys.free, pool, range, range.lo)
  return run[1] and tonumber(run[2]) or nil, run
end

-- Takes n, which `choose` found in this run of the range, and moves the ring behind it; the caller stores the ring.
-- What was passed over in the run, to avoid it, stays free.
local function use(keys, pool, range, n, run)
  if range.policy ~= 's' then
    take(keys, pool, n, run)
    return
  end
  local first, last = range.cursor, range.last
  if not run.cursor then
    if first <= last then
      -- All of the run in use was passed over.
      redis.call('ZADD', keys.free, decimal(first, 0), decimal(last, 0))
    end
    first, last = tonumber(run[2]), tonumber(run[1])
    redis.call('ZREM', keys.free, run[1])
  end
  if n > first then
    redis.call('ZADD', keys.free, decimal(first, 0), decimal(n, -1))
  end
  range.cursor, range.last = n + 1, last
end
