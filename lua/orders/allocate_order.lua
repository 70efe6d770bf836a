#!lua
-- Creates an order and gives it the next free number of its restaurant.
--
-- KEYS: partition outbox pool free cool block order num done [idem idem]
--   The idem keys, present with an idempotency key, are the buckets of this span of time and of the one before it.
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 the record's tail behind the format
--       5 context   6 of the bucket first ms and first ms behind it (6 B each)
--       7 digests of key and body (32 B)
--       (7-7: with idem; without, the bucket's times are 0)
-- Reply: ok, order | replayed, id, body digest | closed, why, detail | stale, now ms | unprovisioned
--        | exhausted, next free at ms or '', now ms
-- Cost: O(log runs); 12 commands, 3 more with an idempotency key, 2 to 4 for each cooled number taken back.

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], num = KEYS[8] }
local orders, done = KEYS[7], KEYS[9]
local id, digests = ARGV[3], ARGV[7]
local created = struct.unpack('>I6', id)

local refusal, seq, last_stamp, seed = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

-- A repeat of a call whose answer was lost finds what the first one did: here where the order has ended, and else where
-- it would be made. One that was held up longer than finished orders are kept is not served at all.
local bucket_start, bucket_end = struct.unpack('>I6I6', ARGV[6])
local now, stamp = read_clock(last_stamp)
if not is_fresh(now, created) then
  return { 'stale', now }
end
local existing = redis.call('HGET', done, id)
if existing then
  return { 'ok', existing }
end

local key_digest, window
if digests then
  if now < bucket_start or now >= bucket_end then
    return { 'stale', now }
  end
  key_digest = string.sub(digests, 1, 16)
  window = bucket_end - bucket_start
  for bucket = 10, 11 do
    local found = redis.call('HGET', KEYS[bucket], key_digest)
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

local pool = load_pool(keys.pool)
if not pool then
  return { 'unprovisioned' }
end

local n, run = settle_and_choose(keys, pool, now, seq, seed)
if not n then
  existing = redis.call('HGET', orders, id)
  if existing then
    return { 'ok', existing }
  end
  return { 'exhausted', next_free_at(keys, pool), now }
end

-- The life of a number begins here, not when the daemon began to ask; its clock may be ahead by a drift.
local given = math.max(stamp, created)
local record = new_record(pool, n, PENDING, given, seq, ARGV[4])
if redis.call('HSETNX', orders, id, record) == 0 then
  return { 'ok', redis.call('HGET', orders, id) }
end
local after = hold(keys, n, run, id)
move_cursor(keys, pool, after)
if digests then
  redis.call('HSET', KEYS[10], key_digest, id .. string.sub(digests, 17))
  if pool.bucket ~= ARGV[6] then
    -- The first key of the bucket: it goes when its last one is out of the window.
    redis.call('PEXPIREAT', KEYS[10], bucket_end + window)
    redis.call('HSET', keys.pool, 'ib', ARGV[6])
  end
end
append(KEYS[1], KEYS[2], ARGV[1], seq, given, 'created', '', id, record, '', digests or '', ARGV[5])
return { 'ok', record }
