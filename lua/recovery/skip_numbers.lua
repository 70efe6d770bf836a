#!lua flags=allow-oom
-- Puts the numbers to rest that may have been given in the unknown seconds.
--
-- They are those that each range would have given next. They rest a whole cooldown, and at most half of its free ones
-- do: a small range must not run dry.
--
-- A `random` pool draws by the sequence, so its next numbers are those of the next sequences, whichever restaurants
-- those went to.
--
-- May run while Redis is full (allow-oom): recovery must not wait for room.
--
-- KEYS: partition outbox pool free cool block num
-- ARGV: 1 generation   2 how many   3 how many sequences, for `random`   4 restaurant   5 context
-- Reply: ok, how many were put to rest | unprovisioned | closed, why, detail
-- Cost: O(numbers log runs + cooling).

local refusal, seq, last_stamp = build_fence(KEYS[1], ARGV[1])
if refusal then
  return refusal
end
local keys = { partition = KEYS[1], pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6] }
local pool = load_pool(keys.pool)
if not pool then
  return { 'unprovisioned' }
end
if pool.cooldown == 0 then
  return { 'ok', 0 }
end
local now, stamp = read_clock(last_stamp)
while settle(keys, pool, now, 64) do end

local free_at = now + pool.cooldown * 1000
local runs = all_runs(keys, pool)
local packed = {}
for _, range in ipairs({ pool, unpack(further_ranges(pool)) }) do
  local free = 0
  for i = 1, #runs, 2 do
    local first, last = tonumber(runs[i + 1]), tonumber(runs[i])
    if first >= range.lo and last <= range.hi then
      free = free + last - first + 1
    end
  end
  local limit = math.min(tonumber(range.policy == 'r' and ARGV[3] or ARGV[2]), math.floor(free / 2))
  for i = 0, limit - 1 do
    local n, run = choose(keys, pool, range, seq + i)
    if not n then
      break
    end
    use(keys, pool, range, n, run)
    rest(keys, pool, n, free_at)
    packed[#packed + 1] = struct.pack('>I3', n)
  end
  if range.policy == 's' then
    store_ring(pool, range)
  end
end
-- An order of their table may have got those that are kept.
for _, n in ipairs(pool.special and reserved_numbers(pool) or {}) do
  local holder = redis.call('HGET', KEYS[7], n)
  if not holder and not redis.call('ZSCORE', keys.cool, n) then
    rest(keys, pool, n, free_at)
    packed[#packed + 1] = struct.pack('>I3', n)
  end
end
if #packed == 0 then
  return { 'ok', 0 }
end
-- An event, so that the ledger knows of these rests, and a second loss does not forget them.
append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'skipped', stamp, ARGV[4], table.concat(packed), '', free_at,
  ARGV[5])
return { 'ok', #packed }
