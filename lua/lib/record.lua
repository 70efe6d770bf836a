-- The packed order (see src/allocator/record.rs for the Rust side):
--
--   layout 1 B | status 1 B | number 3 B | version 4 B | updated ms 6 B | released ms 6 B (0: live) | cooldown s 4 B
--   | sequence 6 B | change token 8 B | length of the format 1 B | format | length of the legacy number 1 B
--   | legacy number | body (JSON, opaque here)
--
-- Big-endian. The scripts read and write the fixed head; what follows it is the tail.

local HEAD = '>BBI3I4I6I6I4I6c8'
local HEAD_BYTES = 39
local LAYOUT = 1
local PENDING, FIRST_FINAL = 0, 5

local function pack_record(o)
  return struct.pack(HEAD, LAYOUT, o.status, o.number, o.version, o.updated, o.released, o.cooldown, o.seq, o.token)
    .. o.tail
end

-- A new order: `tail` begins behind the format.
local function new_record(pool, id, n, status, updated, seq, tail)
  return struct.pack(HEAD, LAYOUT, status, n, 1, updated, 0, pool.cooldown, seq, string.sub(id, 9, 16))
    .. string.char(#pool.format) .. pool.format .. tail
end

local function unpack_record(packed)
  local _, status, number, version, updated, released, cooldown, seq, token = struct.unpack(HEAD, packed)
  return {
    status = status, number = number, version = version, updated = updated, released = released,
    cooldown = cooldown, seq = seq, token = token, tail = string.sub(packed, HEAD_BYTES + 1),
  }
end
