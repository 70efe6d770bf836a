-- What an order asks for: the range that takes it, or one certain number.

-- Whether a mask, a bit each, has the type or source of an order, from 1; 0 is none, and a mask of 0 has all.
local function takes(mask, kind)
  return mask == 0 or kind > 0 and has(mask, 2 ^ (kind - 1))
end

-- The first further range that takes such an order, with its ring; else the main one.
local function range_for(pool, order_type, source)
  for _, range in ipairs(further_ranges(pool)) do
    if takes(range.types, order_type) and takes(range.sources, source) then
      load_ring(pool, range)
      return range
    end
  end
  return pool
end

-- The id of a range; '' of the main one.
local function id_of(range)
  return string.sub(range.shown, string.byte(range.shown) + 3)
end

-- The run that n is in, after its rest was taken back if that is over; nil where it is not free.
local function free_run_of(keys, pool, n, now)
  local lies_until_ms = redis.call('ZSCORE', keys.cool, n)
  if lies_until_ms and tonumber(lies_until_ms) <= now and in_pool(pool, keys.block, n) then
    redis.call('ZREM', keys.cool, n)
    give(keys, pool, n)
  end
  return run_of(keys, pool, n)
end
