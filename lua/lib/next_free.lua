-- When there will be something to choose again.

-- When the next number of a range, or of the one that it overflows into, is free, in ms; '' where none rests. Retiring
-- ones never are, and those of other ranges do not count: only while there are such is this more than a look at the
-- head.
local function next_free_at(keys, pool, range)
  local from, may_retire = 0, count_retiring(pool) > 0
  repeat
    local some = redis.call('ZRANGE', keys.cool, from, from + 15, 'WITHSCORES')
    for i = 1, #some, 2 do
      local n = tonumber(some[i])
      local at = range_at(pool, n)
      local counts = at == range or range.overflow and at == pool
      if counts and not is_special(pool, n) and (not may_retire or in_pool(pool, keys.block, n)) then
        return tonumber(some[i + 1])
      end
    end
    from = from + 16
  until #some < 32
  return ''
end
