#!lua
-- Changes a live order: its status to another live one, its body, or both.
--
-- KEYS: partition outbox order done
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 change token (8 B)   5 status or ''
--       6 version expected or ''   7 new tail or '' (a new tail needs an expected version)   8 context
-- Reply: ok, order | final, order | absent | version, order | forbidden, order | closed, why, detail
-- Cost: O(1); 5 commands.

local refusal, seq = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

local packed = redis.call('HGET', KEYS[3], ARGV[3])
if not packed then
  local final = redis.call('HGET', KEYS[4], ARGV[3])
  if final then
    return { 'final', final }
  end
  return { 'absent' }
end

local o = unpack_record(packed)
if o.token == ARGV[4] then
  return { 'ok', packed } -- a repeat of the call that made the present version
end
if ARGV[6] ~= '' and o.version ~= tonumber(ARGV[6]) then
  return { 'version', packed }
end
local before = o.status
local status = tonumber(ARGV[5]) or before
if status ~= before and status == PENDING or status >= FIRST_FINAL then
  return { 'forbidden', packed }
end
if status == before and ARGV[7] == '' then
  return { 'ok', packed }
end

o.seq = seq
o.status = status
o.version = o.version + 1
o.updated = math.max(clock_ms(), o.updated)
o.token = ARGV[4]
if ARGV[7] ~= '' then
  o.tail = ARGV[7]
end
local record = pack_record(o)
redis.call('HSET', KEYS[3], ARGV[3], record)
append(KEYS[1], KEYS[2], ARGV[1], o.seq, 'changed', '', ARGV[3], record, before, '', ARGV[8])
return { 'ok', record }
