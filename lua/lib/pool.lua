-- A restaurant's pool: its settings, its ranges, and what lies in them.
--
-- Here and elsewhere, what goes back to Redis stays the string that it is where it can: to turn numbers into strings is
-- a good part of what a short script costs.

-- The hash of a pool has its settings in one field, `conf`; one field is much cheaper to read than six. Beside it are
-- r0, and r1 and so on of further ranges (the run that a sequential one is using up: see lib/runs), day (the business
-- date: see lib/business_day), ib (the idempotency bucket that was used last: its first ms and the first one behind it,
-- 6 B each: with another window it is another bucket), rl and rc (live and cooling numbers that lie outside the pool:
-- retiring), each absent while 0; sp (whether numbers are reserved, quarantined or rest oddly: see lib/special), absent
-- while none does; what few need: v (version of the settings), win (active window, s), rng (the further ranges), rules
-- (the settings that most pools have not, as JSON), tk (the tokens of its latest changes, see lib/tokens), old (the
-- oldest live order: id), and ld (the generation that was loaded from the ledger).

-- first 3 B | last 3 B | blocked numbers inside 3 B | cooldown s 4 B | policy 1 B | rules 1 B
-- | length of the format 1 B | format | 0
local CONF = '>I3I3I3I4c1B'
local CONF_BYTES = 15
-- What the rules say: the pool has further ranges; numbers that are mistaken for live ones are avoided, by teens or by
-- swapped digits; a rest gives way; the ring begins anew each business date.
local HAS_RANGES, AVOIDS_TEEN_TY, AVOIDS_SWAPPED, REST_GIVES_WAY, RESETS_DAILY = 1, 2, 4, 8, 16

-- first 3 B | last 3 B | policy 1 B | overflow 1 B | order types 1 B | order sources 1 B (a bit each; 0: all)
-- | length of what follows 1 B | length of the format 1 B | format | length of the id 1 B | id
local RANGE = '>I3I3c1BBBB'
local RANGE_BYTES = 11

-- Settings packed, but for how many numbers are blocked, which is told when they are laid out.
local function pack_settings(conf, blocked)
  return string.sub(conf, 1, 6) .. struct.pack('>I3', blocked) .. string.sub(conf, 10)
end

-- The pool of packed settings; it is its own main range, of the index 0.
local function pool_of(key, conf)
  local lo, hi, blocked, cooldown, policy, rules = struct.unpack(CONF, conf)
  return {
    key = key, lo = lo, hi = hi, blocked = blocked, cooldown = cooldown, policy = policy, rules = rules,
    shown = string.sub(conf, CONF_BYTES + 1), field = 'r0',
  }
end

-- The pool; nil where the restaurant is not provisioned.
local function load_pool(key)
  local f = redis.call('HMGET', key, 'conf', 'r0', 'day', 'rl', 'rc', 'ib', 'sp')
  if not f[1] then
    return nil
  end
  local pool = pool_of(key, f[1])
  pool.ring, pool.day, pool.bucket, pool.special = f[2], f[3], f[6], f[7]
  pool.retiring_live = f[4] and tonumber(f[4]) or 0
  pool.retiring_cooling = f[5] and tonumber(f[5]) or 0
  return pool
end

local function ranges_of(packed)
  local ranges, at = {}, 1
  while at <= #packed do
    local lo, hi, policy, overflow, types, sources, length = struct.unpack(RANGE, packed, at)
    at = at + RANGE_BYTES
    ranges[#ranges + 1] = {
      lo = lo, hi = hi, policy = policy, overflow = overflow == 1, types = types, sources = sources,
      shown = string.sub(packed, at, at + length - 1), field = 'r' .. #ranges + 1,
    }
    at = at + length
  end
  return ranges
end

-- The ranges beside the main one. Read once a script, and only where there are any.
local function further_ranges(pool)
  if not pool.ranges then
    local packed = has(pool.rules, HAS_RANGES) and redis.call('HGET', pool.key, 'rng')
    pool.ranges = packed and ranges_of(packed) or {}
  end
  return pool.ranges
end

-- The range that n lies in, blocked or not; nil outside of all.
local function range_at(pool, n)
  if n >= pool.lo and n <= pool.hi then
    return pool
  end
  if has(pool.rules, HAS_RANGES) then
    for _, range in ipairs(further_ranges(pool)) do
      if n >= range.lo and n <= range.hi then
        return range
      end
    end
  end
  return nil
end

-- The instant from which a restaurant's live orders count as forgotten.
local function active_since(key, now)
  return now - 1000 * tonumber(redis.call('HGET', key, 'win'))
end
