-- A restaurant's pool: its settings and its free numbers, a sorted set of runs: member = last number, score = first.
--
-- Here and elsewhere, what goes back to Redis stays the string that it is where it can: to turn numbers into strings is
-- a good part of what a short script costs.

-- The hash of a pool has its settings in one field, `set`; one field is much cheaper to read than six. Beside it are
-- cur (the cursor of a sequential pool), ib (the idempotency bucket that was used last: its first ms and the first one
-- behind it, 6 B each: with another window it is another bucket), rl and rc (live and cooling numbers that lie outside
-- the pool: retiring), each absent while 0; what few need: v (version of the settings), win (active window, s), tk (the
-- tokens of its latest changes, see lib/tokens), and ld (the generation that was loaded from the ledger).

-- first 3 B | last 3 B | blocked numbers inside 3 B | cooldown s 4 B | policy 1 B | format
local SETTINGS = '>I3I3I3I4c1'
local SETTINGS_BYTES = 14

local function pack_settings(lo, hi, blocked, cooldown, policy, format)
  return struct.pack(SETTINGS, lo, hi, blocked, cooldown, policy) .. format
end

-- The pool, its cursor as a decimal; nil where the restaurant is not provisioned.
local function load_pool(key)
  local f = redis.call('HMGET', key, 'set', 'cur', 'rl', 'rc', 'ib')
  if not f[1] then
    return nil
  end
  local lo, hi, blocked, cooldown, policy = struct.unpack(SETTINGS, f[1])
  return {
    lo = lo, hi = hi, blocked = blocked, cooldown = cooldown, policy = policy,
    format = string.sub(f[1], SETTINGS_BYTES + 1), cursor = f[2] or '0', retiring_live = f[3] and tonumber(f[3]) or 0,
    retiring_cooling = f[4] and tonumber(f[4]) or 0, bucket = f[5],
  }
end

-- The instant from which a restaurant's live orders count as forgotten.
local function active_since(key, now)
  return now - 1000 * tonumber(redis.call('HGET', key, 'win'))
end

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

local function in_pool(pool, block, n)
  if n < pool.lo or n > pool.hi or pool.blocked == 0 then
    return n >= pool.lo and n <= pool.hi
  end
  -- Read once a script, and only where it is asked for.
  if pool.bars == nil then
    local only = redis.call('SCARD', block) == 1 and redis.call('SMEMBERS', block)[1]
    pool.bars = only and string.find(only, '%D') and read_bars(only) or false
  end
  if pool.bars then
    return not is_barred(pool.bars, n)
  end
  return redis.call('SISMEMBER', block, n) == 0
end

-- The run that n is in, { last, first }; nil where n is not free.
local function run_of(free, n)
  local run = redis.call('ZREVRANGEBYSCORE', free, n, '-inf', 'WITHSCORES', 'LIMIT', '0', '1')
  return run[1] and tonumber(run[1]) >= n and run or nil
end
