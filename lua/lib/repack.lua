-- A packed order (see lib/record), taken apart and put together again.

local function pack_record(o)
  local head = struct.pack(HEAD, LAYOUT, o.flags, o.status, o.number, o.version, o.updated, o.given, o.released,
    o.cooldown, o.seq, o.date, o.daily, #o.tokens / 18)
  if o.status >= FIRST_FINAL then
    head = head .. struct.pack('>I6', o.free_at)
  end
  if has(o.flags, WAS_REOPENED) then
    head = head .. struct.pack(REOPENED, o.reopenings, o.reopened)
  end
  if has(o.flags, WAS_CALLED) then
    head = head .. struct.pack(CALLED, o.calls, o.called)
  end
  return head .. o.tokens .. o.tail
end

local function unpack_record(packed)
  local _, flags, status, number, version, updated, given, released, cooldown, seq, date, daily, count =
    struct.unpack(HEAD, packed)
  local o = {
    flags = flags, status = status, number = number, version = version, updated = updated, given = given,
    released = released, cooldown = cooldown, seq = seq, date = date, daily = daily,
    free_at = 0, reopenings = 0, reopened = 0,
  }
  local at = HEAD_BYTES + 1
  if status >= FIRST_FINAL then
    o.free_at, at = struct.unpack('>I6', packed, at)
  end
  if has(flags, WAS_REOPENED) then
    o.reopenings, o.reopened, at = struct.unpack(REOPENED, packed, at)
  end
  if has(flags, WAS_CALLED) then
    o.calls, o.called, at = struct.unpack(CALLED, packed, at)
  end
  local tail = at + count * 18
  o.tokens = string.sub(packed, at, tail - 1)
  o.tail = string.sub(packed, tail)
  return o
end

-- The number of a packed order, for those that need nothing else of it.
local function number_of(packed)
  return (struct.unpack('>I3', packed, 4))
end
