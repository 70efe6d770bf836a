#!lua
-- Gives a restaurant its settings, its first or new ones, and builds its free numbers anew from what is held.
--
-- Live orders are never disturbed: numbers that they hold, and numbers that rest, stay what they are; those that the
-- new settings put outside the pool are retiring, and never return to free.
--
-- KEYS: partition outbox pool free cool block order restaurants
-- ARGV: 1 generation   2 highest sequence known   3 restaurant   4 '1': only if it has none yet
--       5 first number   6 last number   7 policy (s l r)   8 cooldown s   9 active window s   10 format
--       11 blocked numbers, 3 B each, ascending   12 settings as JSON, for the ledger   13 context
-- Reply: ok, version, sequence | exists | closed, why, detail
-- Cost: O(held log held + blocked + runs); for a new restaurant without blocked numbers, 8 commands.

local refusal, seq = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

local pool_key, free, cool, block = KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local old = load_pool(pool_key)
if old and ARGV[4] == '1' then
  return { 'exists' }
end

local lo, hi, policy = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local blocked, blocked_inside = {}, 0
for at = 1, #ARGV[11], 3 do
  local n = struct.unpack('>I3', ARGV[11], at)
  blocked[n] = true
  if n >= lo and n <= hi then
    blocked_inside = blocked_inside + 1
  end
end

-- Everything inside the range that is not free, and what is held outside the pool.
local taken, seen = {}, {}
local retiring_live, retiring_cooling = 0, 0
local function outside(n)
  return n < lo or n > hi or blocked[n]
end
local function occupy(n)
  if n >= lo and n <= hi and not seen[n] then
    seen[n] = true
    taken[#taken + 1] = n
  end
end
for n in pairs(blocked) do
  occupy(n)
end
for _, packed in ipairs(redis.call('HVALS', KEYS[7])) do
  local number = unpack_record(packed).number
  occupy(number)
  if outside(number) then
    retiring_live = retiring_live + 1
  end
end
for _, entry in ipairs(redis.call('LRANGE', cool, 0, -1)) do
  local _, number = struct.unpack(COOLING, entry)
  occupy(number)
  if outside(number) then
    retiring_cooling = retiring_cooling + 1
  end
end
table.sort(taken)

-- The ring goes on where it was, if that is still inside the range. The cursor starts a run of its own.
local cursor = 0
if policy == 's' then
  cursor = lo
  if old and old.policy == 's' and old.cursor >= lo and old.cursor <= hi then
    cursor = old.cursor
  end
end

redis.call('DEL', free)
local function add_run(first, last)
  if first < cursor and cursor <= last then
    redis.call('ZADD', free, first, cursor - 1, cursor, last)
  elseif first <= last then
    redis.call('ZADD', free, first, last)
  end
end
local start = lo
for _, n in ipairs(taken) do
  add_run(start, n - 1)
  start = n + 1
end
add_run(start, hi)

redis.call('DEL', block)
for n in pairs(blocked) do
  redis.call('SADD', block, n)
end

local version = redis.call('HINCRBY', pool_key, 'v', 1)
redis.call('HSET', pool_key, 'set', pack_settings(lo, hi, blocked_inside, tonumber(ARGV[8]), policy, ARGV[10]), 'win',
  ARGV[9])
local function set_count(field, count)
  if count > 0 then
    redis.call('HSET', pool_key, field, count)
  else
    redis.call('HDEL', pool_key, field)
  end
end
set_count('cur', cursor)
set_count('rl', retiring_live)
set_count('rc', retiring_cooling)
redis.call('SADD', KEYS[8], ARGV[3])

append(KEYS[1], KEYS[2], ARGV[1], seq, 'configured', clock_ms(), ARGV[3], ARGV[12], '', version, ARGV[13])
return { 'ok', version, seq }
