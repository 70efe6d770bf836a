#!lua flags=no-writes
-- Counts the numbers of a restaurant by state, and what clean-up and readers ask of it. Changes nothing.
--
-- KEYS: partition pool cool block order done
-- ARGV: 1 generation   2 highest sequence known
-- Reply: ok, first, last, blocked inside, retiring live, retiring cooling, live, cooling, of these with their rest
--        over, of these retiring, next free at ms or '', id of the oldest live order or '', finished and kept,
--        live orders older than the active window
--        | unprovisioned | closed, why, detail
-- Cost: O(live + log cooling); O(live + cooling) while cooling numbers are retiring. Of the live orders those are read
--       that were created before the active window.

local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local pool = load_pool(KEYS[2])
if not pool then
  return { 'unprovisioned' }
end

local now, cooling = read_clock(), redis.call('LLEN', KEYS[3])
local over, over_retiring, upcoming = 0, 0, ''
if pool.retiring_cooling > 0 then
  for _, entry in ipairs(redis.call('LRANGE', KEYS[3], 0, -1)) do
    local free_at, n = struct.unpack(COOLING, entry)
    local inside = in_pool(pool, KEYS[4], n)
    if free_at <= now then
      over = over + 1
      over_retiring = over_retiring + (inside and 0 or 1)
    elseif inside then
      upcoming = free_at
      break
    end
  end
elseif cooling > 0 then
  -- Ordered by time: find the first that still rests by halving.
  local from, to = 0, cooling
  while from < to do
    local middle = math.floor((from + to) / 2)
    if struct.unpack(COOLING, redis.call('LINDEX', KEYS[3], middle)) <= now then
      from = middle + 1
    else
      to = middle
    end
  end
  over = from
  if over < cooling then
    upcoming = (struct.unpack(COOLING, redis.call('LINDEX', KEYS[3], over)))
  end
end

-- Ids begin with their time, most significant byte first.
local oldest, oldest_ms = '', math.huge
local old, since = {}, active_since(KEYS[2], now)
local live = redis.call('HKEYS', KEYS[5])
for i = 1, #live do
  local ms = struct.unpack('>I6', live[i])
  if ms < oldest_ms then
    oldest, oldest_ms = live[i], ms
  end
  if ms < since then
    old[#old + 1] = live[i]
  end
end
-- For those that were reopened, the window began anew.
local overdue = 0
for from = 1, #old, 500 do
  local packed = redis.call('HMGET', KEYS[5], unpack(old, from, math.min(from + 499, #old)))
  for i = 1, #packed do
    if reopened_at(packed[i]) < since then
      overdue = overdue + 1
    end
  end
end

return {
  'ok', pool.lo, pool.hi, pool.blocked, pool.retiring_live, pool.retiring_cooling, #live, cooling, over,
  over_retiring, upcoming, oldest, redis.call('HLEN', KEYS[6]), overdue,
}
