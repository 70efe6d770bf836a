#!lua
-- Calls a live order: it is ready, whatever it was before, and its guest was told.
--
-- Two screens that call at once make one call: what was called less than CALL_MS ago is left as it is, also where its
-- version is not the one expected, since what is asked for has been done. The last call is kept by Redis's clock and
-- not as a stamp: a clock that was ahead once must not make later calls one with it.
--
-- KEYS: partition outbox order done
-- ARGV: 1 generation   2 highest sequence known   3 order id (16 B)   4 call (14 B: see lib/tokens)
--       5 version expected or ''   6 where it is to be picked up, or ''   7 context
-- Reply: ok, order | recent, order | replayed, order, version that the call led to | late, now ms | busy
--        | forbidden, order | final, order | absent | version, order | closed, why, detail
-- Cost: O(1); 6 commands.

local CALL_MS, MOST_CALLS = 3000, 65535

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
local may_be_called = o.status <= READY
local was_called = has(o.flags, WAS_CALLED)
if may_be_called and was_called and math.abs(now - o.called) < CALL_MS then
  return { 'recent', packed }
end
if ARGV[5] ~= '' and o.version ~= tonumber(ARGV[5]) then
  return { 'version', packed }
end
if not may_be_called then
  return { 'forbidden', packed }
end

local before = o.status
o.version = o.version + 1
o.tokens = remember(o.tokens, token, o.version, now)
if not o.tokens then
  return { 'busy' }
end
o.seq = seq
o.status = READY
o.updated = stamp
if was_called then
  o.calls = math.min(o.calls + 1, MOST_CALLS)
else
  o.flags = o.flags + WAS_CALLED
  o.calls = 1
end
o.called = now
local record = pack_record(o)
redis.call('HSET', KEYS[3], ARGV[3], record)
append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'called', '', ARGV[3], record, before, ARGV[6], ARGV[7])
return { 'ok', record }
