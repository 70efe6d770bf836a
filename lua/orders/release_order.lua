#!lua flags=allow-oom
-- Ends a live order and takes its number back: it rests, or is free at once.
--
-- May run while Redis is full (allow-oom), so that a full Redis can still be emptied.
--
-- KEYS: partition outbox pool free cool block order num done
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 call (14 B: see lib/tokens)   5 final status
--       6 version expected or ''   7 new tail or '' (needs an expected version)   8 '1' to skip the cooldown
--       9 '1': only if it is older than the active window, '2': only if it is served, and unchanged for as long as the
--       settings say   10 context
-- Reply: ok, order | replayed, order, version that the call led to | late, now ms | busy | final, order | absent
--        | version, order | forbidden, order | closed, why, detail
-- Cost: O(log runs + log cooling), 11 commands.

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6] }

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local now, stamp = read_clock(last_stamp)
local token, made = unpack_call(ARGV[4])
if not is_fresh(now, made) then
  return { 'late', now }
end

local id = ARGV[3]
local packed = redis.call('HGET', KEYS[7], id)
local live = packed
if not live then
  packed = redis.call('HGET', KEYS[9], id)
  if not packed then
    return { 'absent' }
  end
end
local o = unpack_record(packed)
local version = version_made_by(o.tokens, token)
if version then
  return { 'replayed', packed, version }
end
if not live then
  return { 'final', packed }
end
if ARGV[6] ~= '' and o.version ~= tonumber(ARGV[6]) then
  return { 'version', packed }
end
-- The window begins with the order, and anew where it is reopened.
local forgotten_since = ARGV[9] == '1' and now - 1000 * tonumber(redis.call('HGET', keys.pool, 'win'))
if forgotten_since and math.max((struct.unpack('>I6', id)), o.reopened) >= forgotten_since then
  return { 'forbidden', packed }
end

if ARGV[9] == '2' then
  local seconds = redis.call('HGET', keys.pool, 'ss')
  if not seconds or o.status ~= SERVED or o.updated > now - 1000 * seconds then
    return { 'forbidden', packed }
  end
end

local pool, retiring_live = load_pool(keys.pool, 'rl')
local before = o.status
o.version = o.version + 1
o.tokens = remember(o.tokens, token, o.version, now)
if not o.tokens then
  return { 'busy' }
end
o.seq = seq
o.status = tonumber(ARGV[5])
o.updated = stamp
o.released = stamp
if ARGV[7] ~= '' then
  o.tail = ARGV[7]
end
-- By Redis's clock and not by the stamp, or a clock that was ahead once would make every later rest longer.
local rests = ARGV[8] ~= '1' and o.cooldown > 0
o.free_at = rests and now + o.cooldown * 1000 or now
local record = pack_record(o)
local retiring = tonumber(retiring_live or 0) > 0 and not in_pool(pool, keys.block, o.number)

-- The next place holds the order before the first one lets go of it.
redis.call('HSET', KEYS[9], id, record)
redis.call('HDEL', KEYS[7], id)

if retiring then
  redis.call('HINCRBY', keys.pool, 'rl', -1)
end
if has(o.flags, WAS_RESERVED) and o.status ~= COMPLETED then
  -- Its guest may still be called: the next one of the table does not get it at once.
  redis.call('HDEL', keys.pool, 'got:' .. o.number)
end
if rests then
  if has(pool.rules, REST_GIVES_WAY) or o.cooldown ~= pool.cooldown then
    note_cooldown(pool, o.number, o.cooldown, o.free_at)
  end
  rest(keys, pool, o.number, o.free_at)
  if retiring then
    redis.call('HINCRBY', keys.pool, 'rc', 1)
  end
elseif not retiring then
  give(keys, pool, o.number)
end
append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'released', '', id, record, before, rests and o.free_at or '', ARGV[10])
return { 'ok', record }
