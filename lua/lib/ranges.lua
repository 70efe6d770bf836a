-- The ranges beside the main one, which few pools have.

-- first 3 B | last 3 B | policy 1 B | overflow 1 B | order types 1 B | order sources 1 B (a bit each; 0: all)
-- | length of what follows 1 B | length of the format 1 B | format | length of the id 1 B | id
local RANGE = '>I3I3c1BBBB'
local RANGE_BYTES = 11

local function ranges_of(packed)
  local ranges, at = {}, 1
  while at <= #packed do
    local lo, hi, policy, overflow, types, sources, length = struct.unpack(RANGE, packed, at)
    at = at + RANGE_BYTES
    ranges[#ranges + 1] = {
      lo = lo, hi = hi, policy = policy, overflow = overflow == 1, types = types, sources = sources,
      shown = string.sub(packed, at, at + length - 1), field = 'r' .. #ranges + 1,
    }
    at = at + length
  end
  return ranges
end

-- The ranges beside the main one. Read once a script, and only where there are any.
local function further_ranges(pool)
  if not pool.ranges then
    local packed = has(pool.rules, HAS_RANGES) and redis.call('HGET', pool.key, 'rng')
    pool.ranges = packed and ranges_of(packed) or {}
  end
  return pool.ranges
end

-- The one of them that n lies in; nil where it is in none.
local function further_range_at(pool, n)
  for _, range in ipairs(further_ranges(pool)) do
    if n >= range.lo and n <= range.hi then
      return range
    end
  end
  return nil
end

-- The range that n lies in, blocked or not; nil outside of all.
local function range_at(pool, n)
  if n >= pool.lo and n <= pool.hi then
    return pool
  end
  return has(pool.rules, HAS_RANGES) and further_range_at(pool, n) or nil
end
