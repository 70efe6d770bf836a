-- A restaurant's pool: its settings, its ranges, and what lies in them.
--
-- Here and elsewhere, what goes back to Redis stays the string that it is where it can: to turn numbers into strings is
-- a good part of what a short script costs.

-- The hash of a pool has its settings in one field, `conf`; one field is much cheaper to read than six. Beside it are
-- r0, and r1 and so on of further ranges (the run that a sequential one is using up: see lib/runs), day (the business
-- date, and until when no rest ends), ib (the idempotency bucket that was used last: its first ms and the first one
-- behind it, 6 B each: with another window it is another bucket), rl and rc (live and cooling numbers that lie outside
-- the pool: retiring), each absent while 0; sp, absent while no number is reserved or quarantined (see lib/special).
--
-- What few calls need: v (version of the settings), win (active window, s), rng (the further ranges), rules (the
-- settings that most pools have not, as JSON), zone (rules of the business date), fn (first number of a ring that is
-- reset), mr (minimum rest, s), ss (after how long served orders are completed, s), tk (the tokens of its latest
-- changes, see lib/tokens), old (the oldest live order: id) and sv (what no served order is older than: see
-- lib/oldest), ld (the generation that was loaded from the ledger), and the fields of lib/special, lib/business_day and
-- lib/odd_rests.

-- first 3 B | last 3 B | blocked numbers inside 3 B | cooldown s 4 B | policy 1 B | rules 1 B
-- | length of the format 1 B | format | 0
local CONF = '>I3I3I3I4c1B'
local CONF_BYTES = 15
-- What the rules say: the pool has further ranges; numbers that are mistaken for live ones are avoided, by teens or by
-- swapped digits; a rest gives way; the ring begins anew each business date.
-- Business date, days since 1970, 2 B (0: none yet) | its end ms 6 B | its orders so far 3 B | an instant before which
-- no rest ends ms 6 B: until then no call looks
local DAY = '>I2I6I3I6'
local NEVER = 281474976710655
-- The run in use of a ring: next number 3 B | last number 3 B (see lib/run_in_use)
local RING = '>I3I3'
local HAS_RANGES, AVOIDS_TEEN_TY, AVOIDS_SWAPPED, REST_GIVES_WAY, RESETS_DAILY = 1, 2, 4, 8, 16

-- The pool, and what one or two more fields hold that a script names; nil where the restaurant is not provisioned. Each
-- field has its price, so those that few scripts need are not read by all. With up to 16 entries a table of Lua costs
-- half of what it costs with more.
local function load_pool(key, ...)
  local f = redis.call('HMGET', key, 'conf', 'r0', 'day', 'sp', ...)
  local conf = f[1]
  if not conf then
    return nil
  end
  local lo, hi, blocked, cooldown, policy, rules = struct.unpack(CONF, conf)
  local date, ends, daily, due = 0, 0, 0, 0
  if f[3] then
    date, ends, daily, due = struct.unpack(DAY, f[3])
  end
  -- Without a ring the run in use is empty, and before all numbers.
  local cursor, last = 0, -1
  if f[2] then
    cursor, last = struct.unpack(RING, f[2])
  end
  return {
    key = key, lo = lo, hi = hi, blocked = blocked, cooldown = cooldown, policy = policy, rules = rules,
    shown = string.sub(conf, CONF_BYTES + 1), cursor = cursor, last = last,
    date = date, ends = ends, daily = daily, due = due, special = f[4],
  }, f[5], f[6]
end

-- How many resting numbers are retiring.
local function count_retiring(pool)
  return tonumber(redis.call('HGET', pool.key, 'rc') or 0)
end

-- The business date, and what no rest ends before, as the pool has them.
local function pack_day(pool)
  return struct.pack(DAY, pool.date, pool.ends, pool.daily, pool.due)
end

-- The run in use of a range, as the pool has it.
local function pack_ring(range)
  return struct.pack(RING, range.cursor, range.last)
end
