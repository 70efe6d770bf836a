-- Resting numbers: a list of packed (free again at: ms 6 B | number 3 B), ordered by time.

local COOLING = '>I6I3'
local COOLING_BYTES = 9

-- Puts n to rest until `free_at`. Nearly always this appends; after the cooldown was shortened, a number may rest
-- less long than those before it, and is put into its place: O(numbers that rest longer).
local function rest(cool, n, free_at)
  local entry = struct.pack(COOLING, free_at, n)
  local tail = redis.call('LINDEX', cool, '-1')
  if not tail or struct.unpack(COOLING, tail) <= free_at then
    redis.call('RPUSH', cool, entry)
    return
  end
  local entries = redis.call('LRANGE', cool, '0', '-1')
  local at = #entries
  while at > 0 and struct.unpack(COOLING, entries[at]) > free_at do
    at = at - 1
  end
  if at == 0 then
    redis.call('LPUSH', cool, entry)
  else
    redis.call('LINSERT', cool, 'AFTER', entries[at], entry)
  end
end
