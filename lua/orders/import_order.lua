#!lua
-- Takes over a live order that was created elsewhere: with its own number if that is free, else with the next one.
--
-- KEYS: partition outbox pool free cool block order num done
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 number wanted or ''   5 status
--       6 the record's tail behind the format   7 the same where it gets another number than that   8 context
-- Reply: ok, order | exists, order | unprovisioned | exhausted, next free at ms or '', now ms | closed, why, detail
-- Cost: as allocate_order, and O(numbers whose rest is over).

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], num = KEYS[8] }

local refusal, seq, last_stamp, seed = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local id = ARGV[3]
local existing = redis.call('HGET', KEYS[7], id) or redis.call('HGET', KEYS[9], id)
if existing then
  return { 'exists', existing }
end
local pool = load_pool(keys.pool)
if not pool then
  return { 'unprovisioned' }
end

local now, stamp = read_clock(last_stamp)
repeat until not settle(keys, pool, now, 64) -- the number wanted may be among them

local wanted = ARGV[4]
local own = wanted ~= '' and run_of(keys.free, tonumber(wanted))
local n, run = wanted, own
if not own then
  n, run = choose(keys.free, pool, seq, seed)
end
if not n then
  return { 'exhausted', next_free_at(keys, pool), now }
end

local record = new_record(pool, n, ARGV[5], stamp, seq, own and ARGV[6] or ARGV[7])
local after = hold(keys, n, run, id)
if not own then
  -- A number of its own does not move the ring.
  move_cursor(keys, pool, after)
end
redis.call('HSET', KEYS[7], id, record)
append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'imported', '', id, record, '', '', ARGV[8])
return { 'ok', record }
