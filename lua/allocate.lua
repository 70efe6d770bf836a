#!lua
-- Creates an order and gives it the next free number of its restaurant.
--
-- KEYS: partition outbox pool free cool block order num done [idem idem idem]
--   The idem keys, present with an idempotency key, are the buckets of this span of time and of the two before it.
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 the record's tail behind the format
--       5 context   6 freshness ms
--       7 key digest (16 B)   8 body digest (16 B)   9 first ms of the bucket   10 first ms behind it   11 window ms
--       (7-11: with idem)
-- Reply: ok, order | replayed, id, body digest | closed, why, detail | stale, now ms | unprovisioned
--        | exhausted, next free at ms or '', now ms
-- Cost: O(log runs); 11 commands, 5 more with an idempotency key, 2 to 4 for each cooled number taken back.

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], num = KEYS[8] }
local id = ARGV[3]
local created = struct.unpack('>I6', id)

local refusal, seq, seed = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

-- A repeat of a call whose answer was lost finds what the first one did; one that was held up longer than finished
-- orders are kept is not served at all.
local now = clock_ms()
if math.abs(now - created) > tonumber(ARGV[6]) then
  return { 'stale', now }
end
local existing = redis.call('HGET', KEYS[7], id) or redis.call('HGET', KEYS[9], id)
if existing then
  return { 'ok', existing }
end

local key_digest = ARGV[7]
if key_digest then
  if now < tonumber(ARGV[9]) or now >= tonumber(ARGV[10]) then
    return { 'stale', now }
  end
  for bucket = 10, 12 do
    local found = redis.call('HGET', KEYS[bucket], key_digest)
    if found and struct.unpack('>I6', found) > now - ARGV[11] then
      return { 'replayed', string.sub(found, 1, 16), string.sub(found, 17, 32) }
    end
  end
end

local pool = load_pool(keys.pool)
if not pool then
  return { 'unprovisioned' }
end

local n, run = settle_and_choose(keys, pool, now, seq, seed)
if not n then
  return { 'exhausted', next_free_at(keys, pool), now }
end

local updated = math.max(now, created)
local record = new_record(pool, id, n, PENDING, updated, seq, ARGV[4])
hold(keys, n, run, id)
move_cursor(keys, pool, n)
redis.call('HSET', KEYS[7], id, record)
local digests = ''
if key_digest then
  digests = key_digest .. ARGV[8]
  redis.call('HSET', KEYS[10], key_digest, id .. ARGV[8])
  if redis.call('HLEN', KEYS[10]) == 1 then
    -- It goes when its last key is out of the window.
    redis.call('PEXPIREAT', KEYS[10], ARGV[10] + ARGV[11])
  end
end
append(KEYS[1], KEYS[2], ARGV[1], seq, 'created', '', id, record, '', digests, ARGV[5])
return { 'ok', record }
