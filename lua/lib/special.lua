-- Numbers that are kept for tables, or were taken out for a while. They are few: fields of the pool's hash say so, and
-- while the pool has none (no field sp), no call looks for them:
--
--   res:N   the table that the number is kept for
--   tab:T   the number that is kept for the table
--   got:N   the table that has had it, as long as no order for it ended otherwise than completed
--   qua:N   until when it is taken out, ms 6 B | when its own rest ends, ms 6 B (0: it does not rest)
--
-- A number that is taken out lies among the resting ones until then, unless an order has it.

local QUARANTINE = '>I6I6'

local function is_reserved(pool, n)
  return redis.call('HEXISTS', pool.key, 'res:' .. decimal(n, 0)) == 1
end

-- Until when n is taken out, and when its own rest ends; nil where it is not taken out.
local function quarantine_of(pool, n)
  local packed = redis.call('HGET', pool.key, 'qua:' .. decimal(n, 0))
  if packed then
    return struct.unpack(QUARANTINE, packed)
  end
  return nil
end

-- Whether n is kept for a table or taken out: it does not become free with the end of its rest.
local function is_special(pool, n)
  return pool.special and (quarantine_of(pool, n) or is_reserved(pool, n))
end

local function is_held(keys, orders, n)
  local holder = redis.call('HGET', keys.num, decimal(n, 0))
  return holder and redis.call('HEXISTS', orders, holder) == 1
end

local function set_quarantine(pool, n, until_ms, own_end)
  redis.call('HSET', pool.key, 'qua:' .. decimal(n, 0), struct.pack(QUARANTINE, until_ms, own_end))
end

-- Whether n, which goes back, does not become free: it is taken out still, or kept for a table.
local function keeps(keys, pool, n)
  local until_ms = quarantine_of(pool, n)
  if until_ms then
    if until_ms > read_clock() then
      set_quarantine(pool, n, until_ms, 0)
      place_at_rest(keys, pool, n, until_ms)
      return true
    end
    redis.call('HDEL', pool.key, 'qua:' .. decimal(n, 0))
  end
  return is_reserved(pool, n)
end

-- Until when n lies among the resting ones, if its own rest ends at `free_at`.
local function lies_until(pool, n, free_at)
  local until_ms = quarantine_of(pool, n)
  if not until_ms then
    return free_at
  end
  set_quarantine(pool, n, until_ms, free_at)
  return math.max(until_ms, free_at)
end

-- The number that is kept for a table, if it may be given to an order for it at `now`: no order holds it, and it rests
-- only for an order of the same table. Else nil, and the flag that says why; 0 where none is kept.
local function reserved_for(keys, pool, orders, table_number, now)
  local text = redis.call('HGET', pool.key, 'tab:' .. table_number)
  if not text then
    return nil, 0
  end
  local n = tonumber(text)
  if is_held(keys, orders, n) then
    return nil, RESERVED_IS_LIVE
  end
  local until_ms = quarantine_of(pool, n)
  local rests_until = rest_of(keys, pool, n)
  local is_theirs = redis.call('HGET', pool.key, 'got:' .. text) == table_number
  if until_ms and until_ms > now or rests_until and rests_until > now and not is_theirs then
    return nil, RESERVED_RESTS
  end
  return n, WAS_RESERVED
end

-- Notes that the number which is kept for a table is held for it.
local function hold_reserved(keys, pool, n, table_number)
  redis.call('ZREM', keys.cool, n)
  redis.call('HSET', pool.key, 'got:' .. decimal(n, 0), table_number)
end

-- All numbers that are kept for tables.
local function reserved_numbers(pool)
  local found = {}
  for _, field in ipairs(redis.call('HKEYS', pool.key)) do
    local n = string.match(field, '^res:(%d+)$')
    if n then
      found[#found + 1] = tonumber(n)
    end
  end
  return found
end

-- All numbers that are taken out, with until when.
local function quarantined_numbers(pool)
  local found = {}
  local fields = redis.call('HGETALL', pool.key)
  for i = 1, #fields, 2 do
    local n = string.match(fields[i], '^qua:(%d+)$')
    if n then
      found[#found + 1] = { tonumber(n), (struct.unpack(QUARANTINE, fields[i + 1])) }
    end
  end
  return found
end
