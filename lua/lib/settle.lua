-- Numbers whose rest is over, taken back.

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
  local may_retire, retired = count_retiring(pool) > 0, 0
  for i = 1, #over do
    local n = tonumber(over[i])
    if not may_retire or in_pool(pool, keys.block, n) then
      give(keys, pool, n)
    else
      retired = retired + 1
    end
  end
  if retired > 0 then
    redis.call('HINCRBY', pool.key, 'rc', -retired)
  end
  return #over == limit
end

-- Chooses after taking back the first two numbers whose rest is over: more than one order uses up, so they never pile
-- up. These two may have been retiring ones: nothing is refused while others wait behind them.
local function settle_and_choose(keys, pool, range, now, seq)
  local more = settle(keys, pool, now, 2)
  local n, run = choose(keys, pool, range, seq)
  while more and not n do
    more = settle(keys, pool, now, 64)
    n, run = choose(keys, pool, range, seq)
  end
  return n, run
end
