-- Lays out a pool's free numbers anew: everything inside its ranges that is not blocked, held or resting. What is held
-- or rests outside of them is counted as retiring.

-- Runs of one ZADD: each call has its price, and so has a long list of arguments.
local RUNS_AT_ONCE = 500

-- `s` are the settings (see lib/settings). s.unblocked are the runs of the ranges that are not blocked, as decimals:
-- 'first last first last', ascending. They are text, since there may be a hundred thousand of them, and most go on as
-- they are. s.members are those of the block set, with spaces between them. The rings go on at the cursors that the
-- ranges have. Answers with how many numbers of the ranges are blocked.
local function lay_out(keys, pool, s)
  local taken, seen, bars, live = {}, {}, read_bars(s.members), {}
  local retiring_live, retiring_cooling = 0, 0
  -- Whether n, which is held or rests, is outside the pool.
  local function occupy(n)
    if not range_at(pool, n) or is_barred(bars, n) then
      return not s.reserved_for[n]
    end
    if not seen[n] then
      seen[n] = true
      taken[#taken + 1] = n
    end
    return false
  end
  for _, packed in ipairs(redis.call('HVALS', keys.order)) do
    live[number_of(packed)] = true
    if occupy(number_of(packed)) then
      retiring_live = retiring_live + 1
    end
  end
  for _, number in ipairs(redis.call('ZRANGE', keys.cool, 0, -1)) do
    if occupy(tonumber(number)) then
      retiring_cooling = retiring_cooling + 1
    end
  end
  for n in pairs(s.reserved_for) do
    occupy(n)
  end
  for n, until_ms in pairs(s.quarantined) do
    local own_end = tonumber(redis.call('ZSCORE', keys.cool, n) or 0)
    if range_at(pool, n) and not is_barred(bars, n) or s.reserved_for[n] then
      set_quarantine(pool, n, until_ms, own_end)
      if not live[n] then
        place_at_rest(keys, pool, n, math.max(until_ms, own_end))
        occupy(n)
      end
    end
  end
  table.sort(taken)

  redis.call('DEL', keys.free)
  local runs, count = {}, 0
  local function add(first, last)
    runs[count + 1], runs[count + 2] = first, last
    count = count + 2
    if count >= 2 * RUNS_AT_ONCE then
      redis.call('ZADD', keys.free, unpack(runs, 1, count))
      count = 0
    end
  end
  local inside, at = 0, 1
  for first, last in string.gmatch(s.unblocked, '(%d+) (%d+)') do
    local from, to = tonumber(first), tonumber(last)
    inside = inside + to - from + 1
    if not taken[at] or taken[at] > to then
      add(first, last)
    else
      while taken[at] and taken[at] <= to do
        if from < taken[at] then
          add(from, taken[at] - 1)
        end
        from = taken[at] + 1
        at = at + 1
      end
      if from <= to then
        add(from, to)
      end
    end
  end
  if count > 0 then
    redis.call('ZADD', keys.free, unpack(runs, 1, count))
  end

  redis.call('DEL', keys.block)
  for member in string.gmatch(s.members, '%S+') do
    redis.call('SADD', keys.block, member)
  end

  local width = 0
  local function set_ring(range)
    width = width + range.hi - range.lo + 1
    if range.policy == 's' then
      range.last = range.cursor - 1
      split_at_cursor(keys, range)
      store_ring(pool, range)
    end
  end
  set_ring(pool)
  for _, range in ipairs(further_ranges(pool)) do
    set_ring(range)
  end

  local function set_count(field, value)
    if value > 0 then
      redis.call('HSET', pool.key, field, value)
    else
      redis.call('HDEL', pool.key, field)
    end
  end
  set_count('rl', retiring_live)
  set_count('rc', retiring_cooling)
  return width - inside
end
