#!lua flags=allow-oom
-- Ends the rest of a number before its time, if this final order was its last holder.
--
-- May run while Redis is full (allow-oom): it only gives back.
--
-- KEYS: partition outbox pool free cool block num
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 the order, packed   5 context
-- Reply: ok, sequence | free (its rest is over already) | moved_on | closed, why, detail
-- Cost: O(cooling).

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6] }

local refusal, seq = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

local o = unpack_record(ARGV[4])
local holder = redis.call('HGET', KEYS[7], o.number)
if holder and holder ~= ARGV[3] then
  return { 'moved_on' }
end

-- The packed entry names number and instant, so only this order's own rest can match it.
local entry = struct.pack(COOLING, o.released + o.cooldown * 1000, o.number)
if redis.call('LREM', keys.cool, 1, entry) == 0 then
  -- Nobody has had it since: it is over. A retiring number does not show up among the free ones.
  if o.released > 0 and (holder or run_of(keys.free, o.number)) then
    return { 'free' }
  end
  return { 'moved_on' }
end

local pool = load_pool(keys.pool)
if pool.retiring_cooling > 0 and not in_pool(pool, keys.block, o.number) then
  redis.call('HINCRBY', keys.pool, 'rc', -1)
else
  give(keys.free, o.number, pool.cursor)
end
append(KEYS[1], KEYS[2], ARGV[1], seq, 'recycled', clock_ms(), ARGV[3], ARGV[4], o.status, '', ARGV[5])
return { 'ok', seq }
