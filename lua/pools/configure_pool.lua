#!lua
-- Gives a restaurant its settings, its first or new ones, and builds its free numbers anew from what is held.
--
-- Live orders are never disturbed: numbers that they hold, and numbers that rest, stay what they are; those that the
-- new settings put outside the pool are retiring, and never return to free.
--
-- KEYS: partition outbox pool free cool block order restaurants
-- ARGV: 1 generation   2 highest sequence known   3 restaurant   4 '1': only if it has none yet
--       5 first number   6 last number   7 policy (s l r)   8 cooldown s   9 active window s   10 format
--       11 blocked numbers, 3 B each, ascending   12 settings as JSON, for the ledger   13 context   14 call (14 B)
-- Reply: ok, version, sequence | replayed, version, sequence | late, now ms | busy | exists | closed, why, detail
-- Cost: O(held log held + blocked + runs); for a new restaurant without blocked numbers, 8 commands.

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], order = KEYS[7] }
local now, stamp = read_clock(last_stamp)
local token, made = unpack_call(ARGV[14])
if not is_fresh(now, made) then
  return { 'late', now }
end
local tokens = redis.call('HGET', keys.pool, 'tk') or ''
local version = version_made_by(tokens, token)
if version then
  return { 'replayed', version, seq - 1 }
end
local old = load_pool(keys.pool)
if old and ARGV[4] == '1' then
  return { 'exists' }
end
version = (redis.call('HGET', keys.pool, 'v') or 0) + 1
tokens = remember(tokens, token, version, now)
if not tokens then
  return { 'busy' }
end

-- The ring goes on where it was, if that is still inside the range. The cursor starts a run of its own.
local lo, hi, policy = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local cursor = 0
if policy == 's' then
  cursor = lo
  local at = old and old.policy == 's' and tonumber(old.cursor)
  if at and at >= lo and at <= hi then
    cursor = at
  end
end

local blocked_inside = lay_out(keys, lo, hi, ARGV[11], cursor)
redis.call('HSET', keys.pool, 'v', version, 'set',
  pack_settings(lo, hi, blocked_inside, tonumber(ARGV[8]), policy, ARGV[10]), 'win', ARGV[9], 'tk', tokens)
redis.call('SADD', KEYS[8], ARGV[3])

append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'configured', stamp, ARGV[3], ARGV[12], '', version, ARGV[13])
return { 'ok', version, seq }
