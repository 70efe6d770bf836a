-- The packed order (see src/allocator/script/record.rs for the Rust side):
--
--   layout 1 B | status 1 B | number 3 B | version 4 B | updated ms 6 B | given ms 6 B | released ms 6 B (0: live)
--   | cooldown s 4 B | sequence 6 B | tokens 1 B | of a final order: free again ms 6 B
--   | of one that was reopened, whose layout says so: how often 4 B, the last time ms 6 B
--   | tokens, 18 B each (see lib/tokens) | length of the format 1 B | format | length of the names there 1 B
--   | names there | body (JSON, opaque here)
--
-- The names there are what another system called an imported order: its legacy number and, behind a byte 0x1F, the
-- number as it was shown.
--
-- Big-endian. The scripts read and write all up to the format; what follows is the tail. `free again` is when the
-- number's rest ends, by Redis's clock: `released` is a stamp, which may be ahead of it.

local HEAD = '>BBI3I4I6I6I6I4I6B'
local HEAD_BYTES = 38
local REOPENED = '>I4I6'
local PENDING, PREPARING, COMPLETED, FIRST_FINAL = 0, 1, 5, 5

local function pack_record(o)
  local was_reopened = o.reopenings > 0
  local head = struct.pack(HEAD, was_reopened and REOPENED_LAYOUT or LAYOUT, o.status, o.number, o.version, o.updated,
    o.given, o.released, o.cooldown, o.seq, #o.tokens / 18)
  if o.status >= FIRST_FINAL then
    head = head .. struct.pack('>I6', o.free_at)
  end
  if was_reopened then
    head = head .. struct.pack(REOPENED, o.reopenings, o.reopened)
  end
  return head .. o.tokens .. o.tail
end

-- A new order: `tail` begins behind the format.
local function new_record(pool, n, status, given, seq, tail)
  return struct.pack(HEAD, LAYOUT, status, n, 1, given, given, 0, pool.cooldown, seq, 0)
    .. string.char(#pool.format) .. pool.format .. tail
end

local function unpack_record(packed)
  local layout, status, number, version, updated, given, released, cooldown, seq, count = struct.unpack(HEAD, packed)
  local free_at, reopenings, reopened, at = 0, 0, 0, HEAD_BYTES + 1
  if status >= FIRST_FINAL then
    free_at, at = struct.unpack('>I6', packed, at)
  end
  if layout == REOPENED_LAYOUT then
    reopenings, reopened, at = struct.unpack(REOPENED, packed, at)
  end
  local tail = at + count * 18
  return {
    status = status, number = number, version = version, updated = updated, given = given, released = released,
    cooldown = cooldown, seq = seq, free_at = free_at, reopenings = reopenings, reopened = reopened,
    tokens = string.sub(packed, at, tail - 1), tail = string.sub(packed, tail),
  }
end

-- The number of a packed order, for those that need nothing else of it.
local function number_of(packed)
  return (struct.unpack('>I3', packed, 3))
end

-- When a packed order was reopened the last time; 0 where it never was.
local function reopened_at(packed)
  return string.byte(packed) == REOPENED_LAYOUT and unpack_record(packed).reopened or 0
end
