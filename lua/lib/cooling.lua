-- Resting numbers: a sorted set, number → when it is free again, in ms.

-- Puts n to rest until `free_at`.
local function rest(cool, n, free_at)
  redis.call('ZADD', cool, string.format('%d', free_at), n)
end

-- When the rest of n ends or ended, in ms; nil where it is not among the resting ones.
local function rest_of(cool, n)
  local free_at = redis.call('ZSCORE', cool, n)
  return free_at and tonumber(free_at) or nil
end
