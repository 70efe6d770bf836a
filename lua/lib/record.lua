-- The packed order (see src/allocator/script/record.rs for the Rust side):
--
--   layout 1 B | flags 1 B | status 1 B | number 3 B | version 4 B | updated ms 6 B | given ms 6 B
--   | released ms 6 B (0: live) | cooldown s 4 B | sequence 6 B | business date, days since 1970, 2 B (0: none)
--   | daily sequence 3 B | tokens 1 B
--   | of a final order: free again ms 6 B
--   | of one that was reopened: how often 4 B, the last time ms 6 B
--   | of one that was called: how often 2 B, the last time ms 6 B
--   | tokens, 18 B each (see lib/tokens) | length of the format 1 B | format | length of the range's id 1 B
--   | range (empty: the main one) | length of the names there 1 B | names there | body (JSON, opaque here)
--
-- The flags say which of these sections there are, and how the number was chosen: see below. The names there are what
-- another system called an imported order: its legacy number and, behind a byte 0x1F, the number as it was shown.
--
-- Big-endian. The scripts read and write all up to the format; what follows is the tail. `free again` is when the
-- number's rest ends, by Redis's clock: `released` is a stamp, which may be ahead of it.

local HEAD = '>BBBI3I4I6I6I6I4I6I2I3B'
local HEAD_BYTES = 44
local REOPENED, CALLED = '>I4I6', '>I2I6'
-- Flags. A number that was asked for, or reserved for the order's table, did not move the ring. Where a reserved one
-- was not to be had, the flags say why.
local WAS_REOPENED, WAS_CALLED, WAS_WISHED, WAS_RESERVED, RESERVED_IS_LIVE, RESERVED_RESTS = 1, 2, 4, 8, 16, 32
local PENDING, PREPARING, COMPLETED, FIRST_FINAL = 0, 1, 5, 5

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

-- A new order of a range: `tail` begins behind the range's id.
local function new_record(pool, range, n, status, given, seq, date, daily, flags, tail)
  return struct.pack(HEAD, LAYOUT, flags, status, n, 1, given, given, 0, pool.cooldown, seq, date, daily, 0)
    .. range.shown .. tail
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

-- The place of a packed order in its business date: date and daily sequence.
local function place_of(packed)
  return struct.unpack('>I2I3', packed, 39)
end

-- The most places that the orders of a hash have of a date.
local function most_places(key, date)
  local most = 0
  for _, packed in ipairs(redis.call('HVALS', key)) do
    local of, place = place_of(packed)
    if of == date and place > most then
      most = place
    end
  end
  return most
end
