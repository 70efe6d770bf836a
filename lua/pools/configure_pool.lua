#!lua
-- Gives a restaurant its settings, its first or new ones, and builds its free numbers anew from what is held.
--
-- Live orders are never disturbed: numbers that they hold, and numbers that rest, stay what they are; those that the
-- new settings put outside the pool are retiring, and never return to free.
--
-- KEYS: partition outbox pool free cool block order restaurants
-- ARGV: 1 generation   2 highest sequence known   3 restaurant   4 version expected (0: none yet) or ''
--       5 generation that this is a version of, or ''   6 first number   7 last number   8 policy (s l r)
--       9 cooldown s   10 active window s   11 format
--       12 runs of the range that are not blocked, ascending: first and last, with spaces between them
--       13 members of the block set, with spaces between them   14 settings as JSON, for the ledger   15 context
--       16 call (14 B)
-- Reply: ok, version, sequence | replayed, version, sequence | late, now ms | busy | version (they are at another one)
--        | closed, why, detail
-- Cost: O(held log held + blocked + runs); for a new restaurant without blocked numbers, 8 commands.

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], order = KEYS[7] }
local now, stamp = read_clock(last_stamp)
local token, made = unpack_call(ARGV[16])
if not is_fresh(now, made) then
  return { 'late', now }
end
local tokens = redis.call('HGET', keys.pool, 'tk') or ''
local version = version_made_by(tokens, token)
if version then
  return { 'replayed', version, seq - 1 }
end
local present = tonumber(redis.call('HGET', keys.pool, 'v') or 0)
if ARGV[4] ~= '' and present ~= tonumber(ARGV[4]) then
  return { 'version' }
end
-- Another generation may have given this version to other settings: those before were lost.
if ARGV[5] ~= '' and ARGV[5] ~= ARGV[1] then
  return { 'version' }
end
local old = load_pool(keys.pool)
version = present + 1
tokens = remember(tokens, token, version, now)
if not tokens then
  return { 'busy' }
end

-- The ring goes on where it was, if that is still inside the range. The cursor starts a run of its own.
local lo, hi, policy = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local cursor = 0
if policy == 's' then
  cursor = lo
  local at = old and old.policy == 's' and tonumber(old.cursor)
  if at and at >= lo and at <= hi then
    cursor = at
  end
end

local blocked_inside = lay_out(keys, lo, hi, ARGV[12], ARGV[13], cursor)
redis.call('HSET', keys.pool, 'v', version, 'set',
  pack_settings(lo, hi, blocked_inside, tonumber(ARGV[9]), policy, ARGV[11]), 'win', ARGV[10], 'tk', tokens)
redis.call('SADD', KEYS[8], ARGV[3])

append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'configured', stamp, ARGV[3], ARGV[14], '', version, ARGV[15])
return { 'ok', version, seq }
