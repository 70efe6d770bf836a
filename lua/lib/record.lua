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
local PENDING, PREPARING, READY, SERVED, COMPLETED, FIRST_FINAL = 0, 1, 2, 3, 5, 5

-- A new order of a range: `tail` begins behind the range's id.
local function new_record(pool, range, n, status, given, seq, flags, tail)
  return struct.pack(HEAD, LAYOUT, flags, status, n, 1, given, given, 0, pool.cooldown, seq, pool.date, pool.daily, 0)
    .. range.shown .. tail
end
