#!lua
-- Changes a live order: its status to another live one, its body, or both.
--
-- KEYS: partition outbox order done
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 call (14 B: see lib/tokens)   5 status or ''
--       6 version expected or ''   7 new tail or '' (a new tail needs an expected version)   8 context
-- Reply: ok, order | replayed, order, version that the call led to | late, now ms | busy | final, order | absent
--        | version, order | forbidden, order | closed, why, detail
-- Cost: O(1); 6 commands.

local refusal, seq, last_stamp = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local now, stamp = read_clock(last_stamp)
local token, made = unpack_call(ARGV[4])
if not is_fresh(now, made) then
  return { 'late', now }
end

local packed = redis.call('HGET', KEYS[3], ARGV[3])
local live = packed
if not live then
  packed = redis.call('HGET', KEYS[4], ARGV[3])
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
local before = o.status
local status = tonumber(ARGV[5]) or before
if status ~= before and status == PENDING or status >= FIRST_FINAL then
  return { 'forbidden', packed }
end

local changes = status ~= before or ARGV[7] ~= ''
if changes then
  o.version = o.version + 1
end
-- Where nothing changes, too: a repeat must not make later what is as it was to become now.
o.tokens = remember(o.tokens, token, o.version, now)
if not o.tokens then
  return { 'busy' }
end
if changes then
  o.seq = seq
  o.status = status
  o.updated = stamp
  if ARGV[7] ~= '' then
    o.tail = ARGV[7]
  end
end
local record = pack_record(o)
redis.call('HSET', KEYS[3], ARGV[3], record)
if changes then
  append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'changed', '', ARGV[3], record, before, '', ARGV[8])
end
return { 'ok', record }
