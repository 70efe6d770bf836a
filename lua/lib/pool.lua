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

local function in_pool(pool, block, n)
  return n >= pool.lo and n <= pool.hi and (pool.blocked == 0 or redis.call('SISMEMBER', block, n) == 0)
end

-- The run that n is in, { last, first }; nil where n is not free.
local function run_of(free, n)
  local run = redis.call('ZREVRANGEBYSCORE', free, n, '-inf', 'WITHSCORES', 'LIMIT', '0', '1')
  return run[1] and tonumber(run[1]) >= n and run or nil
end
