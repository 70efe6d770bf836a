-- A rest that gives way: where nothing is free, the number that has rested longest may be given before its time.

-- So many of those that would be free next are looked at.
local LOOKED_AT = 64

-- The number of these ranges that has rested longest, if for as long as the settings ask; taken from its rest. nil
-- where none has.
local function cut_rest(keys, pool, range, now)
  local least = 1000 * tonumber(redis.call('HGET', pool.key, 'mr'))
  local found, found_began = nil, now - least
  local resting = redis.call('ZRANGE', keys.cool, '0', LOOKED_AT - 1, 'WITHSCORES')
  for i = 1, #resting, 2 do
    local n = tonumber(resting[i])
    local at = range_at(pool, n)
    local counts = at == range or range.overflow and at == pool
    if counts and not is_special(pool, n) and in_pool(pool, keys.block, n) then
      local free_at = tonumber(resting[i + 1])
      local began = free_at - 1000 * (noted_cooldown(pool, resting[i], free_at) or pool.cooldown)
      if began <= found_began and (not found or began < found_began) then
        found, found_began = n, began
      end
    end
  end
  if found then
    redis.call('ZREM', keys.cool, found)
  end
  return found
end
