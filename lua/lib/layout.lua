-- Lays out a pool's free numbers anew: everything inside the range that is not blocked, held or resting. What is held
-- or rests outside of it is counted as retiring.

-- Runs of one ZADD: each call has its price, and so has a long list of arguments.
local RUNS_AT_ONCE = 500

-- `unblocked` are the runs of the range that are not blocked, as decimals: 'first last first last', ascending. They are
-- text, since there may be a hundred thousand of them, and most go on as they are. `members` are those of the block
-- set, with spaces between them. Answers with how many numbers of the range are blocked.
local function lay_out(keys, lo, hi, unblocked, members, cursor)
  local taken, seen, bars = {}, {}, read_bars(members)
  local retiring_live, retiring_cooling = 0, 0
  -- Whether n, which is held or rests, is outside the pool.
  local function occupy(n)
    if n < lo or n > hi or is_barred(bars, n) then
      return true
    end
    if not seen[n] then
      seen[n] = true
      taken[#taken + 1] = n
    end
    return false
  end
  for _, packed in ipairs(redis.call('HVALS', keys.order)) do
    if occupy(number_of(packed)) then
      retiring_live = retiring_live + 1
    end
  end
  for _, entry in ipairs(redis.call('LRANGE', keys.cool, 0, -1)) do
    local _, number = struct.unpack(COOLING, entry)
    if occupy(number) then
      retiring_cooling = retiring_cooling + 1
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
  -- The cursor starts a run of its own.
  local function add_run(first, last)
    if first < cursor and cursor <= last then
      add(first, cursor - 1)
      first = cursor
    end
    if first <= last then
      add(first, last)
    end
  end
  local inside, at = 0, 1
  for first, last in string.gmatch(unblocked, '(%d+) (%d+)') do
    local from, to = tonumber(first), tonumber(last)
    inside = inside + to - from + 1
    if (not taken[at] or taken[at] > to) and (cursor <= from or cursor > to) then
      add(first, last)
    else
      while taken[at] and taken[at] <= to do
        add_run(from, taken[at] - 1)
        from = taken[at] + 1
        at = at + 1
      end
      add_run(from, to)
    end
  end
  if count > 0 then
    redis.call('ZADD', keys.free, unpack(runs, 1, count))
  end

  redis.call('DEL', keys.block)
  for member in string.gmatch(members, '%S+') do
    redis.call('SADD', keys.block, member)
  end

  local function set_count(field, value)
    if value > 0 then
      redis.call('HSET', keys.pool, field, value)
    else
      redis.call('HDEL', keys.pool, field)
    end
  end
  set_count('cur', cursor)
  set_count('rl', retiring_live)
  set_count('rc', retiring_cooling)
  return hi - lo + 1 - inside
end
