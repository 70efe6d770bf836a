-- The run that a sequential range is using up. It lies in the pool's hash, so the next number of a fresh run costs no
-- command of its own.
--
-- It is the range's field, 'r0' of the main one: next number 3 B | last number 3 B. The next number is the cursor of
-- the ring. A run that is used up ends before its cursor; the allocation that needs another one takes it from the set
-- of lib/runs, first to last from the cursor on.

-- Reads the run in use of a further range into it, once a script; that of the main range comes with the pool. Of a
-- range without a ring it is empty, and before all numbers.
local function load_ring(pool, range)
  if range.cursor then
    return
  end
  local packed = range.policy == 's' and redis.call('HGET', pool.key, range.field)
  range.cursor, range.last = 0, -1
  if packed then
    range.cursor, range.last = struct.unpack(RING, packed)
  end
end

local function store_ring(pool, range)
  return redis.call('HSET', pool.key, range.field or 'r0', pack_ring(range))
end

-- The next number of the run in use; nil where that is used up, or the range has no ring.
local function next_in_use(range)
  return range.cursor <= range.last and range.cursor or nil
end
