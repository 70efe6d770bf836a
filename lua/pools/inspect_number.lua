#!lua flags=no-writes
-- Says what one number is doing, and which order holds it or held it last as far as Redis knows. Changes nothing.
--
-- KEYS: partition pool free cool block order num done
-- ARGV: 1 generation   2 highest sequence known   3 number
-- Reply: ok, state (free live cooling blocked retiring outside), id and order or '' | unprovisioned
--        | closed, why, detail
-- Cost: O(log runs + log cooling).

local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local pool = load_pool(KEYS[2])
if not pool then
  return { 'unprovisioned' }
end

local n = tonumber(ARGV[3])
local id = redis.call('HGET', KEYS[7], n)
local live = id and redis.call('HGET', KEYS[6], id)
local order = live or (id and redis.call('HGET', KEYS[8], id))
order = order and id .. order or ''
local keys = { free = KEYS[3], cool = KEYS[4], block = KEYS[5], num = KEYS[7] }
return { 'ok', state_of(keys, pool, KEYS[6], n, (read_clock())), order }
