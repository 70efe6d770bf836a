-- Picking a number, after those whose rest is over were taken back.

-- Moves at most `limit` numbers whose rest is over to free, oldest first; true where there may be more. Done inside
-- allocate, so that correctness needs no sweeper and a pause of the daemon strands nothing. Where nothing was over, the
-- pool's day says until when no call has to look again: allocate stores it.
local function settle(keys, pool, now, limit)
  if now < pool.due then
    return false
  end
  local over = redis.call('ZRANGEBYSCORE', keys.cool, '-inf', decimal(now, 0), 'LIMIT', '0', limit)
  if not over[1] then
    local head = redis.call('ZRANGE', keys.cool, '0', '0', 'WITHSCORES')
    pool.due = head[2] and tonumber(head[2]) or NEVER
    return false
  end
  redis.call('ZREM', keys.cool, unpack(over))
  local retired = 0
  for i = 1, #over do
    local n = tonumber(over[i])
    if pool.retiring_cooling == 0 or in_pool(pool, keys.block, n) then
      give(keys, pool, n)
    else
      retired = retired + 1
    end
  end
  if retired > 0 then
    pool.retiring_cooling = pool.retiring_cooling - retired
    redis.call('HINCRBY', pool.key, 'rc', -retired)
  end
  return #over == limit
end

-- The first run of the set within a range that begins at `from` or behind it.
local function run_from(free, pool, range, from)
  local to = has(pool.rules, HAS_RANGES) and range.hi or '+inf'
  return redis.call('ZRANGEBYSCORE', free, from, to, 'WITHSCORES', 'LIMIT', '0', '1')
end

-- Chooses the next number of a range, and the run that it is in (see run_of); nil when nothing is free there. Changes
-- nothing.
local function choose(keys, pool, range, seq, seed)
  if range.policy == 'r' then
    -- A keyed hash of the sequence, so that recovery knows which numbers would have come next. 13 hex digits are 52
    -- bits: all that a Lua number holds. Where the number drawn is not free, the run before it gives its first one.
    local hash = redis.sha1hex(seed .. decimal(seq, 0))
    local drawn = range.lo + tonumber(string.sub(hash, 1, 13), 16) % (range.hi - range.lo + 1)
    local run = run_before(keys.free, drawn)
    if run[1] and tonumber(run[2]) >= range.lo then
      return tonumber(run[1]) >= drawn and drawn or tonumber(run[2]), run
    end
  elseif range.policy == 's' then
    local n = next_in_use(pool, range)
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

-- Chooses after taking back the first two numbers whose rest is over: more than one order uses up, so they never pile
-- up. These two may have been retiring ones: nothing is refused while others wait behind them.
local function settle_and_choose(keys, pool, range, now, seq, seed)
  local more = settle(keys, pool, now, 2)
  local n, run = choose(keys, pool, range, seq, seed)
  while more and not n do
    more = settle(keys, pool, now, 64)
    n, run = choose(keys, pool, range, seq, seed)
  end
  return n, run
end
