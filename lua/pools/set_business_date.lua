#!lua
-- Sets a restaurant's business date back or on: orders belong to it from now on, up to its end.
--
-- Where it has had orders, the next one gets the place behind them. What later dates have had, up to the one before, is
-- kept for when their turn comes again. The rings begin anew where a later date does that to them.
--
-- KEYS: partition outbox pool free order done
-- ARGV: 1 generation   2 highest sequence known   3 restaurant   4 call (14 B: see lib/tokens)
--       5 date that was seen, days since 1970   6 when that was set by hand, ms, or 0
--       7 date to set   8 its end ms   9 most places that the ledger has of it and of each later one (see lib/places)
--       10 context
-- Reply: ok, sequence, '' or 'reset' (the rings began anew) | replayed, sequence | late, now ms | busy
--        | moved (another date is here) | far, now ms (it is more than a day from UTC's) | unprovisioned
--        | closed, why, detail
-- Cost: O(live + finished orders).

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local keys = { pool = KEYS[3], free = KEYS[4] }
local now, stamp = read_clock(last_stamp)
local token, made = unpack_call(ARGV[4])
if not is_fresh(now, made) then
  return { 'late', now }
end
local pool = load_pool(keys.pool)
if not pool then
  return { 'unprovisioned' }
end
local f = redis.call('HMGET', keys.pool, 'tk', 'ds')
local tokens = f[1] or ''
if version_made_by(tokens, token) then
  return { 'replayed', seq - 1 }
end
local here, so_far = pool.date, pool.daily
local date, ends = tonumber(ARGV[7]), tonumber(ARGV[8])
if here ~= tonumber(ARGV[5]) or (f[2] or '0') ~= ARGV[6] or ends <= stamp then
  return { 'moved' }
end
if not is_near(date, stamp) then
  return { 'far', stamp }
end
tokens = remember(tokens, token, 0, now)
if not tokens then
  return { 'busy' }
end

local found = {}
for at = 1, #ARGV[9], PLACES_BYTES do
  local of, places = struct.unpack(PLACES, ARGV[9], at)
  found[of] = math.max(found[of] or 0, places)
end
most_places(found, KEYS[5], date)
most_places(found, KEYS[6], date)
local daily = found[date] or 0
local was_reset = false
if date > here then
  daily = math.max(daily, take_ahead(pool, date))
  if here > 0 and has(pool.rules, RESETS_DAILY) then
    reset_rings(keys, pool)
    was_reset = true
  end
elseif date < here then
  found[here] = math.max(found[here] or 0, so_far)
  for of, places in pairs(found) do
    if of > date and places > 0 then
      note_ahead(pool, of, places)
    end
  end
end
pool.date, pool.ends, pool.daily = date, ends, daily
redis.call('HSET', keys.pool, 'day', pack_day(pool), 'ds', decimal(stamp, 0), 'tk', tokens)
append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'dated', stamp, ARGV[3], struct.pack('>I2I2I6', here, date, ends), '', '',
  ARGV[10])
return { 'ok', seq, was_reset and 'reset' or '' }
