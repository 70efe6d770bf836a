-- A rest that gives way: where nothing is free, the number that has rested longest may be given before its time.

-- So many of those that would be free next are looked at.
local LOOKED_AT = 64

-- Notes with what cooldown a number was put to rest, where that is not the pool's.
local function note_cooldown(pool, n, cooldown)
  if cooldown == pool.cooldown then
    redis.call('HDEL', pool.key, 'odd:' .. decimal(n, 0))
  else
    redis.call('HSET', pool.key, 'odd:' .. decimal(n, 0), cooldown)
  end
end

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
      local cooldown = redis.call('HGET', pool.key, 'odd:' .. resting[i]) or pool.cooldown
      local began = tonumber(resting[i + 1]) - 1000 * cooldown
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
