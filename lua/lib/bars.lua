-- Blocked numbers, and with them what belongs to a pool.

-- The block set has single numbers, a member each; or one member with all entries, as they were written, in ascending
-- order and then the patterns: '13,400-499,*4*'. Here entries become what is_barred looks at.
local function read_bars(entries)
  local bars = { first = {}, last = {}, patterns = {} }
  for entry in string.gmatch(entries, '[^, ]+') do
    local first, last = string.match(entry, '^(%d+)%-?(%d*)$')
    if first then
      bars.first[#bars.first + 1] = tonumber(first)
      bars.last[#bars.last + 1] = tonumber(last ~= '' and last or first)
    else
      bars.patterns[#bars.patterns + 1] = '^' .. string.gsub(string.gsub(entry, '%?', '%%d'), '%*', '%%d*') .. '$'
    end
  end
  return bars
end

-- Whether one of the runs, which are ascending, or one of the patterns has n.
local function is_barred(bars, n)
  local from, to = 1, #bars.first
  while from <= to do
    local middle = math.floor((from + to) / 2)
    if n < bars.first[middle] then
      to = middle - 1
    elseif n > bars.last[middle] then
      from = middle + 1
    else
      return true
    end
  end
  local digits = string.format('%d', n)
  for i = 1, #bars.patterns do
    if string.find(digits, bars.patterns[i]) then
      return true
    end
  end
  return false
end

-- Whether n belongs to the pool: it lies in a range and is not blocked, or is kept for a table.
local function in_pool(pool, block, n)
  if not range_at(pool, n) then
    return pool.special and is_reserved(pool, n) or false
  end
  if pool.blocked == 0 then
    return true
  end
  -- Read once a script, and only where it is asked for.
  if not pool.bars then
    local only = redis.call('SCARD', block) == 1 and redis.call('SMEMBERS', block)[1]
    pool.bars = only and string.find(only, '%D') and read_bars(only) or 'single'
  end
  if pool.bars ~= 'single' then
    return not is_barred(pool.bars, n)
  end
  return redis.call('SISMEMBER', block, n) == 0
end
