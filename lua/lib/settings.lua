-- Settings as they are written, by a change and by a rebuild: nine arguments,
--
--   settings packed (see lib/pool; how many numbers are blocked is left 0) | active window s | further ranges, packed
--   | rules that few pools have, as JSON | rules of the business date | first number of a ring that is reset
--   | minimum rest s | runs of the ranges that are not blocked, ascending: first and last, with spaces between them
--   | members of the block set, with spaces between them
--
-- What a pool has not is ''.

local function settings_of(args, at, version)
  return {
    version = version, conf = args[at], window = args[at + 1], ranges = args[at + 2], rules = args[at + 3],
    zone = args[at + 4], first_number = args[at + 5], min_rest = args[at + 6], unblocked = args[at + 7],
    members = args[at + 8],
  }
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
      redis.call('HDEL', keys.pool, range.field)
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
  local blocked = lay_out(keys, pool, s.unblocked, s.members)
  redis.call('HSET', keys.pool, 'v', s.version, 'conf', pack_settings(s.conf, blocked), 'win', s.window)
  for field, value in pairs({ rng = s.ranges, rules = s.rules, zone = s.zone, fn = s.first_number, mr = s.min_rest }) do
    if value == '' then
      redis.call('HDEL', keys.pool, field)
    else
      redis.call('HSET', keys.pool, field, value)
    end
  end
  return pool
end
