#!lua flags=no-writes
-- Says what one number is doing, and which order holds it or held it last as far as Redis knows. Changes nothing.
--
-- KEYS: partition pool free cool block order num done
-- ARGV: 1 generation   2 highest sequence known   3 number
-- Reply: ok, state (free live cooling blocked retiring outside), id and order or '' | unprovisioned
--        | closed, why, detail
-- Cost: O(log runs); O(cooling) for a number that is cooling.

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
local inside = in_pool(pool, KEYS[5], n)
if live then
  return { 'ok', inside and 'live' or 'retiring', order }
end
if run_of(KEYS[3], n) then
  return { 'ok', 'free', order }
end

local now = read_clock()
for _, entry in ipairs(redis.call('LRANGE', KEYS[4], 0, -1)) do
  local free_at, number = struct.unpack(COOLING, entry)
  if number == n and free_at > now then
    return { 'ok', inside and 'cooling' or 'retiring', order }
  end
end
if n < pool.lo or n > pool.hi then
  return { 'ok', 'outside', order }
end
return { 'ok', inside and 'free' or 'blocked', order }
