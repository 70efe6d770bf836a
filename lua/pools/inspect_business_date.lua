#!lua flags=no-writes
-- Reads a restaurant's business date, and what orders here have of another one and those behind it. Changes nothing.
--
-- KEYS: partition pool order done
-- ARGV: 1 generation   2 highest sequence known   3 date asked for, days since 1970, or 0
-- Reply: ok, stamp ms, date, its end ms, orders of it, rules of the date, dates ahead (see lib/business_day)
--        | when the date was set by hand, ms, or 0 | most places that orders here have of the date asked for and of
--        each later one (see lib/places)
--        | unprovisioned | closed, why, detail
-- Cost: O(1); with a date, O(live + finished orders).

local refusal, _, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local pool = load_pool(KEYS[2])
if not pool then
  return { 'unprovisioned' }
end
local _, stamp = read_clock(last_stamp)
local asked, found, most = tonumber(ARGV[3]), {}, ''
if asked > 0 then
  most_places(found, KEYS[3], asked)
  most_places(found, KEYS[4], asked)
end
for date, places in pairs(found) do
  most = most .. struct.pack(PLACES, date, places)
end
local f = redis.call('HMGET', KEYS[2], 'zone', 'da', 'ds')
return { 'ok', stamp, pool.date, pool.ends, pool.daily, f[1] or '', f[2] or '', f[3] or '0', most }
