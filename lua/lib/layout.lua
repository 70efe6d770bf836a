-- Lays out a pool's free numbers anew: everything inside the range that is not blocked, held or resting. What is held
-- or rests outside of it is counted as retiring.

-- `blocked` is packed: 3 B each, ascending. Answers with how many of them lie inside the range.
local function lay_out(keys, lo, hi, blocked_packed, cursor)
  local blocked, blocked_inside = {}, 0
  for at = 1, #blocked_packed, 3 do
    local n = struct.unpack('>I3', blocked_packed, at)
    blocked[n] = true
    if n >= lo and n <= hi then
      blocked_inside = blocked_inside + 1
    end
  end

  local taken, seen = {}, {}
  local retiring_live, retiring_cooling = 0, 0
  local function outside(n)
    return n < lo or n > hi or blocked[n]
  end
  local function occupy(n)
    if n >= lo and n <= hi and not seen[n] then
      seen[n] = true
      taken[#taken + 1] = n
    end
  end
  for n in pairs(blocked) do
    occupy(n)
  end
  for _, packed in ipairs(redis.call('HVALS', keys.order)) do
    local number = number_of(packed)
    occupy(number)
    if outside(number) then
      retiring_live = retiring_live + 1
    end
  end
  for _, entry in ipairs(redis.call('LRANGE', keys.cool, 0, -1)) do
    local _, number = struct.unpack(COOLING, entry)
    occupy(number)
    if outside(number) then
      retiring_cooling = retiring_cooling + 1
    end
  end
  table.sort(taken)

  redis.call('DEL', keys.free)
  local function add_run(first, last)
    if first < cursor and cursor <= last then
      redis.call('ZADD', keys.free, first, cursor - 1, cursor, last)
    elseif first <= last then
      redis.call('ZADD', keys.free, first, last)
    end
  end
  local start = lo
  for _, n in ipairs(taken) do
    add_run(start, n - 1)
    start = n + 1
  end
  add_run(start, hi)

  redis.call('DEL', keys.block)
  for n in pairs(blocked) do
    redis.call('SADD', keys.block, n)
  end

  local function set_count(field, count)
    if count > 0 then
      redis.call('HSET', keys.pool, field, count)
    else
      redis.call('HDEL', keys.pool, field)
    end
  end
  set_count('cur', cursor)
  set_count('rl', retiring_live)
  set_count('rc', retiring_cooling)
  return blocked_inside
end
