#!lua flags=allow-oom
-- Ends a live order and takes its number back: it rests, or is free at once.
--
-- May run while Redis is full (allow-oom), so that a full Redis can still be emptied.
--
-- KEYS: partition outbox pool free cool block order num done
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 change token (8 B)   5 final status
--       6 version expected or ''   7 new tail or '' (needs an expected version)   8 '1' to skip the cooldown
--       9 '' or: only if created before this (ms)   10 context
-- Reply: ok, order | final, order | absent | version, order | forbidden, order | closed, why, detail
-- Cost: O(log runs), 10 commands; O(cooling) where the cooldown was shortened.

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6] }

local refusal, seq = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

local id = ARGV[3]
local packed = redis.call('HGET', KEYS[7], id)
if not packed then
  local final = redis.call('HGET', KEYS[9], id)
  if final then
    return { 'final', final }
  end
  return { 'absent' }
end

local o = unpack_record(packed)
if ARGV[6] ~= '' and o.version ~= tonumber(ARGV[6]) then
  return { 'version', packed }
end
if ARGV[9] ~= '' and struct.unpack('>I6', id) >= tonumber(ARGV[9]) then
  return { 'forbidden', packed }
end

local pool = load_pool(keys.pool)
local before = o.status
o.seq = seq
o.status = tonumber(ARGV[5])
o.version = o.version + 1
o.updated = math.max(clock_ms(), o.updated)
o.released = o.updated
o.token = ARGV[4]
if ARGV[7] ~= '' then
  o.tail = ARGV[7]
end
local record = pack_record(o)
local retiring = pool.retiring_live > 0 and not in_pool(pool, keys.block, o.number)

-- The next place holds the order before the first one lets go of it.
redis.call('HSET', KEYS[9], id, record)
redis.call('HDEL', KEYS[7], id)

if retiring then
  redis.call('HINCRBY', keys.pool, 'rl', -1)
end
local free_at = ''
if ARGV[8] ~= '1' and o.cooldown > 0 then
  local at = o.released + o.cooldown * 1000
  rest(keys.cool, o.number, at)
  if retiring then
    redis.call('HINCRBY', keys.pool, 'rc', 1)
  end
  free_at = decimal(at, 0)
elseif not retiring then
  give(keys.free, o.number, pool.cursor)
end
append(KEYS[1], KEYS[2], ARGV[1], o.seq, 'released', '', id, record, before, free_at, ARGV[10])
return { 'ok', record }
