#!lua
-- Gives a restaurant its settings, its first or new ones, and builds its free numbers anew from what is held.
--
-- Live orders are never disturbed: numbers that they hold, and numbers that rest, stay what they are; those that the
-- new settings put outside the pool are retiring, and never return to free.
--
-- KEYS: partition outbox pool free cool block order restaurants
-- ARGV: 1 generation   2 highest sequence known   3 restaurant   4 version expected (0: none yet) or ''
--       5 generation that this is a version of, or ''
--       6 settings packed   7 active window s   8 further ranges   9 other rules   10 rules of the date
--       11 first number of a reset   12 minimum rest s   13 runs that are not blocked   14 members of the block set
--       15 numbers kept for tables   16 numbers taken out   17 s after which served orders are completed
--       (6-17: see lib/settings)   18 settings as JSON, for the ledger   19 context   20 call (14 B)
-- Reply: ok, version, sequence | replayed, version, sequence | late, now ms | busy | version (they are at another one)
--        | closed, why, detail
-- Cost: O(held log held + blocked + runs); for a new restaurant without blocked numbers, 12 commands.

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], order = KEYS[7] }
local now, stamp = read_clock(last_stamp)
local token, made = unpack_call(ARGV[20])
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

local settings = settings_of(ARGV, 6, version)
if old and (redis.call('HGET', keys.pool, 'zone') or '') ~= settings.zone then
  ask_for_date(old)
end
write_settings(keys, settings, old)
redis.call('HSET', keys.pool, 'tk', tokens)
redis.call('SADD', KEYS[8], ARGV[3])

append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'configured', stamp, ARGV[3], ARGV[18], '', version, ARGV[19])
return { 'ok', version, seq }
