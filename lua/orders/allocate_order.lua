#!lua
-- Creates an order and gives it the next free number of the range that takes it, or the number that it asks for.
--
-- KEYS: partition outbox pool free cool block order num done [idem idem]
--   The idem keys, present with an idempotency key, are the buckets of this span of time and of the one before it.
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 the record's tail behind the range's id
--       5 context   6 what chooses the number: order type 1 B, order source 1 B (0: none), table
--       7 digests of key and body (32 B)   8 of the bucket first ms and first ms behind it (6 B each)
--       9 how the business date goes on (see lib/business_day)   10 number asked for
--       (7-10: what few calls have; '' where only a later one is there)
-- Reply: ok, order, and what was special, in words: reset (rings began anew), cut (a rest), avoided (a mistakable one)
--        | replayed, id, body digest | closed, why, detail
--        | stale, now ms | unprovisioned | date, now ms, date so far, rules of the date
--        | exhausted, next free at ms or '', now ms, id of the range | taken, state, id of the holder or ''
-- Cost: O(log runs); in a fresh run 9 commands, 3 more with an idempotency key; 2 to 4 for each cooled number taken
--       back.

local KEYS, ARGV = KEYS, ARGV -- globals are looked up by their names each time
local keys = { partition = KEYS[1], pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], num = KEYS[8] }
local orders, done = KEYS[7], KEYS[9]
local id, digests, bucket = ARGV[3], ARGV[7], ARGV[8]
local created = struct.unpack('>I6', id)

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

-- A repeat of a call whose answer was lost finds what the first one did: here where the order has ended, and else where
-- it would be made. One that was held up longer than finished orders are kept is not served at all.
local now, stamp = read_clock(last_stamp)
if not is_fresh(now, created) then
  return { 'stale', now }
end
local existing = redis.call('HGET', done, id)
if existing then
  return { 'ok', existing }
end

local has_key = digests and digests ~= ''
local key_digest, bucket_end, window
if has_key then
  local bucket_start
  bucket_start, bucket_end = struct.unpack('>I6I6', bucket)
  if now < bucket_start or now >= bucket_end then
    return { 'stale', now }
  end
  key_digest = string.sub(digests, 1, 16)
  window = bucket_end - bucket_start
  for i = 10, 11 do
    local found = redis.call('HGET', KEYS[i], key_digest)
    if found and struct.unpack('>I6', found) > now - window then
      local first = string.sub(found, 1, 16)
      existing = first == id and redis.call('HGET', orders, id)
      if existing then
        return { 'ok', existing }
      end
      return { 'replayed', first, string.sub(found, 17, 32) }
    end
  end
end

local pool, last_bucket
if has_key then
  pool, last_bucket = load_pool(keys.pool, 'ib')
else
  pool = load_pool(keys.pool)
end
if not pool then
  return { 'unprovisioned' }
end

-- The life of a number begins here, not when the daemon began to ask; its clock may be ahead by a drift.
local given = stamp > created and stamp or created
local was_reset
if given >= pool.ends then
  local goes_on
  goes_on, was_reset = turn_day(keys, pool, ARGV[9] or '', given)
  if not goes_on then
    return { 'date', given, pool.date, redis.call('HGET', pool.key, 'zone') or '' }
  end
end

local range, wished, table_number = pool, 0, ''
if has(pool.rules, HAS_RANGES) or pool.special or ARGV[10] then
  local order_type, source = struct.unpack('BB', ARGV[6])
  range = range_for(pool, order_type, source)
  table_number = string.sub(ARGV[6], 3)
  wished = tonumber(ARGV[10] or 0)
end

local n, run, flags, what = nil, nil, 0, was_reset and 'reset' or ''
if pool.special and (table_number ~= '' or wished > 0) then
  n, flags = reserved_for(keys, pool, orders, table_number, now)
  if wished > 0 and wished ~= n then
    n, flags = nil, 0
  end
end
if n then
  range = range_at(pool, n) or pool
elseif wished > 0 then
  n, flags = wished, WAS_WISHED
  run = free_run_of(keys, pool, wished, now)
  if not run then
    existing = redis.call('HGET', orders, id)
    if existing then
      return { 'ok', existing }
    end
    return { 'taken', state_of(keys, pool, orders, wished, now), redis.call('HGET', keys.num, wished) or '' }
  end
  range = range_at(pool, wished)
else
  n, run = now < pool.due and next_in_use(range), range
  if not n and now < pool.due then
    n, run = choose(keys, pool, range, seq)
  elseif not n then
    n, run = settle_and_choose(keys, pool, range, now, seq)
  end
  if not n and range.overflow then
    n, run = choose(keys, pool, pool, seq)
    range = n and pool or range
  end
  if not n and has(pool.rules, REST_GIVES_WAY) and redis.call('HEXISTS', orders, id) == 0 then
    n, run = cut_rest(keys, pool, range, now), nil
    range = n and range_at(pool, n) or range
    what = n and what .. ' cut' or what
  elseif n and (has(pool.rules, AVOIDS_TEEN_TY) or has(pool.rules, AVOIDS_SWAPPED)) then
    local avoided
    n, run, avoided = avoid(keys, pool, range, n, run)
    what = avoided and what .. ' avoided' or what
  end
  if not n then
    existing = redis.call('HGET', orders, id)
    if existing then
      return { 'ok', existing }
    end
    return { 'exhausted', next_free_at(keys, pool, range), now, id_of(range) }
  end
end

pool.daily = pool.daily + 1
local record = new_record(pool, range, n, PENDING, given, seq, flags, ARGV[4])
if redis.call('HSETNX', orders, id, record) == 0 then
  return { 'ok', redis.call('HGET', orders, id) }
end
redis.call('HSET', keys.num, decimal(n, 0), id)
if flags == WAS_RESERVED then
  hold_reserved(keys, pool, n, table_number)
elseif flags == WAS_WISHED then
  take(keys, pool, n, run)
elseif run and n == run.cursor then
  run.cursor = n + 1
elseif run then
  use(keys, pool, range, n, run)
end
if range.policy == 's' and range.cursor then
  redis.call('HSET', keys.pool, 'day', pack_day(pool), range.field or 'r0', pack_ring(range))
else
  redis.call('HSET', keys.pool, 'day', pack_day(pool))
end
if has_key then
  redis.call('HSET', KEYS[10], key_digest, id .. string.sub(digests, 17))
  if last_bucket ~= bucket then
    -- The first key of the bucket: it goes when its last one is out of the window.
    redis.call('PEXPIREAT', KEYS[10], bucket_end + window)
    redis.call('HSET', keys.pool, 'ib', bucket)
  end
end
append(KEYS[1], KEYS[2], ARGV[1], seq, given, 'created', '', id, record, '', digests or '', ARGV[5])
if what == '' then
  return { 'ok', record }
end
return { 'ok', record, what }
