-- Picking a number, after those whose rest is over were taken back.

-- Moves at most `limit` numbers whose rest is over to free, oldest first; true where there may be more. Done inside
-- allocate, so that correctness needs no sweeper and a pause of the daemon strands nothing.
local function settle(keys, pool, now, limit)
  local oldest = redis.call('LRANGE', keys.cool, '0', limit - 1)
  local over, retired = 0, 0
  for i = 1, #oldest do
    local free_at, n = struct.unpack(COOLING, oldest[i])
    if free_at > now then
      break
    end
    if pool.retiring_cooling == 0 or in_pool(pool, keys.block, n) then
      give(keys.free, n, pool.cursor)
    else
      retired = retired + 1
    end
    over = over + 1
  end
  if over > 0 then
    redis.call('LPOP', keys.cool, over)
  end
  if retired > 0 then
    pool.retiring_cooling = pool.retiring_cooling - retired
    redis.call('HINCRBY', keys.pool, 'rc', -retired)
  end
  return over == limit
end

-- Chooses the next number: n, a decimal, and the run it is in, { last, first }; nil when nothing is free. Changes
-- nothing.
local function choose(free, pool, seq, seed)
  if pool.policy == 'r' then
    -- A keyed hash of the sequence, so that recovery knows which numbers would have come next. 13 hex digits are 52
    -- bits: all that a Lua number holds. Where the number drawn is not free, the run before it gives its first one.
    local hash = redis.sha1hex(seed .. decimal(seq, 0))
    local drawn = pool.lo + tonumber(string.sub(hash, 1, 13), 16) % (pool.hi - pool.lo + 1)
    local run = redis.call('ZREVRANGEBYSCORE', free, drawn, '-inf', 'WITHSCORES', 'LIMIT', '0', '1')
    if run[1] then
      return tonumber(run[1]) >= drawn and decimal(drawn, 0) or run[2], run
    end
  elseif pool.policy == 's' then
    local run = redis.call('ZRANGEBYSCORE', free, pool.cursor, '+inf', 'WITHSCORES', 'LIMIT', '0', '1')
    if run[1] then
      return run[2], run
    end
  end
  local run = redis.call('ZRANGE', free, '0', '0', 'WITHSCORES')
  return run[2], run
end

-- Chooses after taking back the first two numbers whose rest is over: more than one order uses up, so they never pile
-- up. These two may have been retiring ones: nothing is refused while others wait behind them.
local function settle_and_choose(keys, pool, now, seq, seed)
  local more = settle(keys, pool, now, 2)
  local n, run = choose(keys.free, pool, seq, seed)
  while more and not n do
    more = settle(keys, pool, now, 64)
    n, run = choose(keys.free, pool, seq, seed)
  end
  return n, run
end

-- Takes n, a decimal, for the order out of the run that it is in; answers with the number behind it.
local function hold(keys, n, run, id)
  local after = take(keys.free, n, run)
  redis.call('HSET', keys.num, n, id)
  return after
end

-- The ring goes on with the number behind the one that was given.
local function move_cursor(keys, pool, after)
  if pool.policy == 's' then
    redis.call('HSET', keys.pool, 'cur', after)
  end
end

-- When the next number is free, in ms; '' where none rests. Retiring ones never are: only while some rest is this more
-- than a look at the head.
local function next_free_at(keys, pool)
  local entries = redis.call('LRANGE', keys.cool, '0', pool.retiring_cooling)
  for i = 1, #entries do
    local free_at, n = struct.unpack(COOLING, entries[i])
    if pool.retiring_cooling == 0 or in_pool(pool, keys.block, n) then
      return free_at
    end
  end
  return ''
end
