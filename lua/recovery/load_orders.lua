#!lua flags=allow-oom
-- Gives a loaded restaurant its settings, as the ledger has them, and lays out its free numbers.
--
-- In a generation that is open already, only where it has none.
--
-- May run while Redis is full (allow-oom): recovery must not wait for room.
--
-- KEYS: partition pool free cool block order restaurants
-- ARGV: 1 generation   2 restaurant   3 version of the settings
--       4 settings packed   5 active window s   6 further ranges   7 other rules   8 rules of the date
--       9 first number of a reset   10 minimum rest s   11 runs that are not blocked   12 members of the block set
--       13 numbers kept for tables   14 numbers taken out   15 s after which served orders are completed
--       (4-15: see lib/settings)
--       16 number that the ring of each range gave last, or 0, with spaces between them
--       17 business date, days since 1970, or 0   18 orders that it has had
--       19 its end ms where it was set by hand, or 0   20 when it was set, ms, or 0
--       21 dates ahead of it (see lib/business_day)
-- Reply: ok | closed, why, detail
-- Cost: O(held log held + blocked + runs).

local refusal = build_fence(KEYS[1], ARGV[1], true)
if refusal then
  return refusal
end
if redis.call('HGET', KEYS[1], 'gen') == ARGV[1] and redis.call('HEXISTS', KEYS[2], 'conf') == 1 then
  return { 'ok' }
end
local keys = { pool = KEYS[2], free = KEYS[3], cool = KEYS[4], block = KEYS[5], order = KEYS[6] }
local start = {}
for last_given in string.gmatch(ARGV[16], '%d+') do
  start[#start + 1] = tonumber(last_given) + 1
end
local pool = write_settings(keys, settings_of(ARGV, 4, ARGV[3]), nil, start)
if ARGV[17] ~= '0' then
  pool.date, pool.ends, pool.daily = tonumber(ARGV[17]), tonumber(ARGV[19]), tonumber(ARGV[18])
  redis.call('HSET', keys.pool, 'day', pack_day(pool))
end
if ARGV[20] ~= '0' then
  redis.call('HSET', keys.pool, 'ds', ARGV[20])
end
if ARGV[21] ~= '' then
  redis.call('HSET', keys.pool, 'da', ARGV[21])
end
redis.call('SADD', KEYS[7], ARGV[2])
return { 'ok' }
