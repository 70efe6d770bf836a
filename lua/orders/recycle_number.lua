#!lua flags=allow-oom
-- Ends the rest of a number before its time, if this final order was its last holder.
--
-- May run while Redis is full (allow-oom): it only gives back.
--
-- KEYS: partition outbox pool free cool block num done
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 the order, packed, as the ledger has it
--       5 context   6 call (14 B: see lib/tokens)
-- Reply: ok, sequence | replayed, sequence | late, now ms | busy | free (its rest is over already) | moved_on
--        | closed, why, detail
-- Cost: O(log cooling + log runs); 8 commands.

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6] }

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local now, stamp = read_clock(last_stamp)
local token, made = unpack_call(ARGV[6])
if not is_fresh(now, made) then
  return { 'late', now }
end
local tokens = redis.call('HGET', keys.pool, 'tk') or ''
if version_made_by(tokens, token) then
  return { 'replayed', seq - 1 }
end

-- Redis knows best when its rest ends.
local packed = redis.call('HGET', KEYS[8], ARGV[3]) or ARGV[4]
local o = unpack_record(packed)
local holder = redis.call('HGET', KEYS[7], o.number)
if holder and holder ~= ARGV[3] then
  return { 'moved_on' }
end
tokens = remember(tokens, token, o.version, now)
if not tokens then
  return { 'busy' }
end

local pool, retiring = load_pool(keys.pool, 'rc')
if not pool then
  return { 'moved_on' }
end
-- Only this order's own rest ends when it says.
if rest_of(keys, pool, o.number) ~= o.free_at then
  -- No order has had it since: it is over. A retiring number does not show up among the free ones.
  if o.released > 0 and (holder or run_of(keys, pool, o.number)) then
    return { 'free' }
  end
  return { 'moved_on' }
end
redis.call('ZREM', keys.cool, o.number)

if tonumber(retiring or 0) > 0 and not in_pool(pool, keys.block, o.number) then
  redis.call('HINCRBY', keys.pool, 'rc', -1)
else
  give(keys, pool, o.number)
end
redis.call('HSET', keys.pool, 'tk', tokens)
append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'recycled', stamp, ARGV[3], packed, o.status, '', ARGV[5])
return { 'ok', seq }
