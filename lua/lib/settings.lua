-- Settings as they are written, by a change and by a rebuild: twelve arguments,
--
--   settings packed (see lib/pool; how many numbers are blocked is left 0) | active window s | further ranges, packed
--   | rules that few pools have, as JSON | rules of the business date | first number of a ring that is reset
--   | minimum rest s | runs of the ranges that are not blocked, ascending: first and last, with spaces between them
--   | members of the block set, with spaces between them
--   | numbers that are kept for tables: number 3 B, length of the table 1 B, table
--   | numbers that are taken out: number 3 B, until ms 6 B
--   | seconds after which served orders are completed
--
-- What a pool has not is ''.

local function reservations_of(packed)
  local found, at = {}, 1
  while at <= #packed do
    local n, length = struct.unpack('>I3B', packed, at)
    found[n] = string.sub(packed, at + 4, at + 3 + length)
    at = at + 4 + length
  end
  return found
end

local function quarantines_of(packed)
  local found = {}
  for at = 1, #packed, 9 do
    local n, until_ms = struct.unpack('>I3I6', packed, at)
    found[n] = until_ms
  end
  return found
end

local function settings_of(args, at, version)
  return {
    version = version, conf = args[at], window = args[at + 1], ranges = args[at + 2], rules = args[at + 3],
    zone = args[at + 4], first_number = args[at + 5], min_rest = args[at + 6], unblocked = args[at + 7],
    members = args[at + 8], reserved_for = reservations_of(args[at + 9]), quarantined = quarantines_of(args[at + 10]),
    served = args[at + 11],
  }
end

-- Takes away what was said of special numbers before. Those that were taken out rest as they do by themselves.
local function clear_special(keys, pool, now)
  local fields = redis.call('HGETALL', pool.key)
  for i = 1, #fields, 2 do
    local kind, n = string.match(fields[i], '^(%l+):(.+)$')
    if kind == 'qua' then
      local _, own_end = struct.unpack(QUARANTINE, fields[i + 1])
      if redis.call('ZSCORE', keys.cool, n) then
        if own_end > now then
          place_at_rest(keys, pool, n, own_end)
        else
          redis.call('ZREM', keys.cool, n)
        end
      end
    end
    if kind == 'qua' or kind == 'res' or kind == 'tab' then
      redis.call('HDEL', pool.key, fields[i])
    end
  end
end

-- Says what is kept for tables. That a table has had its number stays known where it is kept for it still.
local function write_reservations(pool, reserved_for)
  for n, table_number in pairs(reserved_for) do
    redis.call('HSET', pool.key, 'res:' .. decimal(n, 0), table_number, 'tab:' .. table_number, decimal(n, 0))
  end
  for _, field in ipairs(redis.call('HKEYS', pool.key)) do
    local n = string.match(field, '^got:(%d+)$')
    if n and redis.call('HGET', pool.key, field) ~= reserved_for[tonumber(n)] then
      redis.call('HDEL', pool.key, field)
    end
  end
end

-- Settings packed, but for how many numbers are blocked, which is told when they are laid out.
local function pack_settings(conf, blocked)
  return string.sub(conf, 1, 6) .. struct.pack('>I3', blocked) .. string.sub(conf, 10)
end

-- Writes settings, and lays the numbers out by them. `before` is the pool as it was, or nil: the ring of a range of the
-- same id goes on where it was, if that is still inside. Else it begins at the cursor that `start` has for its index,
-- or at its first number. What only some pools have is '' where this one has it not.
local function write_settings(keys, s, before, start)
  redis.call('HSET', keys.pool, 'conf', s.conf)
  local pool = load_pool(keys.pool)
  pool.ranges = ranges_of(s.ranges)
  if pool.special then
    clear_special(keys, pool, (read_clock()))
  end
  if before then
    note_cooldowns(keys, pool, before, (read_clock()))
  end
  local is_special = next(s.reserved_for) or next(s.quarantined)
  if is_special or pool.special then
    write_reservations(pool, s.reserved_for)
  end
  pool.special = is_special and '1' or false
  if is_special then
    redis.call('HSET', keys.pool, 'sp', '1')
  else
    redis.call('HDEL', keys.pool, 'sp')
  end
  local was = {}
  if before then
    for _, range in ipairs({ before, unpack(further_ranges(before)) }) do
      load_ring(before, range)
      -- The format is of no matter to the ring, the id behind it is.
      was[string.sub(range.shown, string.byte(range.shown) + 2)] = range
      if range ~= before then
        redis.call('HDEL', keys.pool, range.field)
      end
    end
  end
  local function place(range, index)
    if range.policy ~= 's' then
      redis.call('HDEL', keys.pool, range.field or 'r0')
      range.cursor, range.last = 0, -1
      return
    end
    local old = was[string.sub(range.shown, string.byte(range.shown) + 2)]
    local cursor = start and start[index] or old and old.policy == 's' and old.cursor or range.lo
    range.cursor = cursor >= range.lo and cursor <= range.hi and cursor or range.lo
  end
  place(pool, 1)
  for index, range in ipairs(pool.ranges) do
    place(range, index + 1)
  end
  local blocked = lay_out(keys, pool, s)
  redis.call('HSET', keys.pool, 'v', s.version, 'conf', pack_settings(s.conf, blocked), 'win', s.window)
  local optional = {
    rng = s.ranges, rules = s.rules, zone = s.zone, fn = s.first_number, mr = s.min_rest, ss = s.served,
  }
  for field, value in pairs(optional) do
    if value == '' then
      redis.call('HDEL', keys.pool, field)
    else
      redis.call('HSET', keys.pool, field, value)
    end
  end
  return pool
end
