#!lua flags=no-writes
-- Counts the numbers of a restaurant by state, and what clean-up and readers ask of it. Changes nothing.
--
-- KEYS: partition pool free cool block order done num
-- ARGV: 1 generation   2 highest sequence known
-- Reply: ok, blocked inside, retiring live, retiring cooling, live, cooling, of these with their rest over, of these
--        retiring, next free at ms or '', id of the oldest live order or '', finished and kept, '1' where that is not
--        known, active window s, numbers of all ranges, counts of lib/count_special, '1' where a served order may
--        be due or ''; where there are further ranges, the pool (see lib/describe), blocked numbers, what is walked,
--        counts of lib/range_counts
--        | unprovisioned | closed, why, detail
-- Cost: O(log cooling); O(cooling) while cooling numbers are retiring or some are special; O(live) where few are live
--       and the oldest one has ended. With further ranges, O(cooling + live, or runs where these are fewer).

local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end
local pool, retiring_live, retiring_cooling = load_pool(KEYS[2], 'rl', 'rc')
if not pool then
  return { 'unprovisioned' }
end

retiring_live, retiring_cooling = tonumber(retiring_live or 0), tonumber(retiring_cooling or 0)
local now = string.format('%d', (read_clock()))
local cooling = redis.call('ZCARD', KEYS[4])
local over, over_retiring, upcoming = 0, 0, ''
if retiring_cooling > 0 or pool.special then
  local resting = redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES')
  for i = 1, #resting, 2 do
    local n = tonumber(resting[i])
    local inside = in_pool(pool, KEYS[5], n)
    if tonumber(resting[i + 1]) <= tonumber(now) then
      over = over + 1
      over_retiring = over_retiring + (inside and 0 or 1)
    elseif inside and not is_special(pool, n) then
      upcoming = tonumber(resting[i + 1])
      break
    end
  end
elseif cooling > 0 then
  over = redis.call('ZCOUNT', KEYS[4], '-inf', now)
  if over < cooling then
    upcoming = tonumber(redis.call('ZRANGE', KEYS[4], over, over, 'WITHSCORES')[2])
  end
end

local keys = { free = KEYS[3], cool = KEYS[4], block = KEYS[5], order = KEYS[6], num = KEYS[8] }
local none = { 0, 0, 0, 0 }
local kept = pool.special and count_special(keys, pool, tonumber(now)) or none
local live = redis.call('HLEN', KEYS[6])
local oldest, is_known = oldest_live(pool, KEYS[6], live)
local width = pool.hi - pool.lo + 1
if has(pool.rules, HAS_RANGES) then
  for _, range in ipairs(further_ranges(pool)) do
    width = width + range.hi - range.lo + 1
  end
end
local rarely_asked = redis.call('HMGET', KEYS[2], 'win', 'ss', 'sv')
local reply = {
  'ok', pool.blocked, retiring_live, retiring_cooling, live, cooling, over,
  over_retiring, upcoming, oldest, redis.call('HLEN', KEYS[7]), is_known and '' or '1',
  rarely_asked[1], width, kept, served_is_due(rarely_asked[2], rarely_asked[3], tonumber(now)) and '1' or '',
}
if has(pool.rules, HAS_RANGES) then
  local walked, counts = count_ranges(keys, pool, tonumber(now), retiring_live > 0, retiring_cooling > 0)
  for _, part in ipairs({ describe(KEYS[2]), redis.call('SMEMBERS', KEYS[5]), walked, counts }) do
    reply[#reply + 1] = part
  end
end
return reply
