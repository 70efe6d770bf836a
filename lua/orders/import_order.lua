#!lua
-- Takes over a live order that was created elsewhere: with its own number if that is free, else with the next one.
--
-- KEYS: partition outbox pool free cool block order num done
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 number wanted or ''   5 status
--       6 the record's tail behind the range's id   7 the same where it gets another number than that   8 context
--       9 order type 1 B, order source 1 B (0: none)
--       10 its business date there, days since 1970, or 0   11 its place in that
-- Reply: ok, order | exists, order | unprovisioned | exhausted, next free at ms or '', now ms | closed, why, detail
-- Cost: as allocate_order, and O(numbers whose rest is over).

local keys = { partition = KEYS[1], pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], num = KEYS[8] }

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
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
local n = tonumber(wanted)
local own = n and run_of(keys, pool, n)
local run, range = own, own and range_at(pool, n)
if not own then
  range = range_for(pool, struct.unpack('BB', ARGV[9]))
  n, run = choose(keys, pool, range, seq)
  if not n and range.overflow then
    n, run = choose(keys, pool, pool, seq)
    range = n and pool or range
  end
end
if not n then
  return { 'exhausted', next_free_at(keys, pool, range), now }
end

local flags, tail = 0, ARGV[7]
if own then
  flags, tail = WAS_WISHED, ARGV[6]
end
local date, daily = tonumber(ARGV[10]), tonumber(ARGV[11])
if date > 0 and date == pool.date then
  keep_ahead_of(pool, date, daily, stamp)
elseif date > pool.date and is_near(date, stamp) then
  -- An import does not move the date; when its turn comes, no place is given twice.
  note_ahead(pool, date, daily)
end
pool.date, pool.daily = date, daily
local record = new_record(pool, range, n, ARGV[5], stamp, seq, flags, tail)
redis.call('HSET', keys.num, n, id)
if own then
  -- A number of its own does not move the ring.
  take(keys, pool, n, run)
else
  use(keys, pool, range, n, run)
  if range.policy == 's' then
    store_ring(pool, range)
  end
end
redis.call('HSET', KEYS[7], id, record)
redis.call('HDEL', keys.pool, 'old') -- it may be older
append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'imported', '', id, record, '', '', ARGV[8])
return { 'ok', record }
