#!lua
-- Takes a completed order back to preparing, with its number, as long as that still rests for it.
--
-- KEYS: partition outbox pool cool block order num done
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 call (14 B: see lib/tokens)
--       5 version expected or ''   6 new tail or '' (needs an expected version)
--       7 the order, packed, as the ledger has it, or '': for where it was let go of here   8 context
-- Reply: ok, order | replayed, order, version that the call led to | late, now ms | busy | live, order | final, order
--        | absent | version, order | moved_on, order | closed, why, detail
-- Cost: O(log cooling); 13 commands.

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local keys = { pool = KEYS[3], cool = KEYS[4], block = KEYS[5], num = KEYS[7] }
local orders, done = KEYS[6], KEYS[8]
local now, stamp = read_clock(last_stamp)
local token, made = unpack_call(ARGV[4])
if not is_fresh(now, made) then
  return { 'late', now }
end

local id = ARGV[3]
local packed = redis.call('HGET', orders, id)
local live = packed
if not live then
  packed = redis.call('HGET', done, id) or ARGV[7]
  if packed == '' then
    return { 'absent' }
  end
end
local o = unpack_record(packed)
local version = version_made_by(o.tokens, token)
if version then
  return { 'replayed', packed, version }
end
if ARGV[5] ~= '' and o.version ~= tonumber(ARGV[5]) then
  return { 'version', packed }
end
if live then
  return { 'live', packed }
end
if o.status ~= COMPLETED then
  return { 'final', packed }
end

local pool, retiring_cooling = load_pool(keys.pool, 'rc')
-- Only this order's own rest ends when it says. One that is over may still lie there: the next order takes the number
-- back.
local holder = redis.call('HGET', keys.num, o.number)
if holder and holder ~= id or o.free_at <= now or rest_of(keys, pool, o.number) ~= o.free_at then
  return { 'moved_on', packed }
end
local before = o.status
o.version = o.version + 1
o.tokens = remember(o.tokens, token, o.version, now)
if not o.tokens then
  return { 'busy' }
end
o.seq = seq
o.status = PREPARING
o.updated = stamp
o.released = 0
-- The active window begins anew. When the number was given stays: no other order has had it since.
if not has(o.flags, WAS_REOPENED) then
  o.flags = o.flags + WAS_REOPENED
end
o.reopenings = o.reopenings + 1
o.reopened = stamp
if ARGV[6] ~= '' then
  o.tail = ARGV[6]
end
local record = pack_record(o)
local retiring = tonumber(retiring_cooling or 0) > 0 and not in_pool(pool, keys.block, o.number)

-- The next place holds the order, and its number, before the first one lets go of it.
redis.call('HSET', orders, id, record)
redis.call('HSET', keys.num, o.number, id)
redis.call('HDEL', done, id)
redis.call('ZREM', keys.cool, o.number)
redis.call('HDEL', keys.pool, 'old') -- it may be older
if retiring then
  redis.call('HINCRBY', keys.pool, 'rc', -1)
  redis.call('HINCRBY', keys.pool, 'rl', 1)
end
append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'reopened', '', id, record, before, '', ARGV[8])
return { 'ok', record }
