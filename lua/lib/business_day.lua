-- The business date that orders belong to, and how many it has had: the pool's field 'day',
--
--   date, days since 1970, 2 B | its end ms 6 B (0: to be asked for) | orders so far 3 B
--
-- Which date comes next is the daemon's to say: it knows time zones. The pool holds it, and until its end no daemon's
-- opinion counts. From then on the script answers `date`, and takes the next one where it follows the one that is here:
-- daemons that are not of one mind cannot flip it back and forth.
--
-- Two more fields, absent in nearly all pools: da, the dates ahead of this one that have had orders, since the date was
-- set back or an import brought them (date 2 B, orders 3 B, each); and ds, when the date was last set by hand (ms).

local DAY = '>I2I6I3'
local AHEAD, AHEAD_BYTES = '>I2I3', 5
local DAY_MS = 86400000

-- Whether a date is at most one day from that of UTC at `at`.
local function is_near(date, at)
  return math.abs(date - math.floor(at / DAY_MS)) <= 1
end

-- date, end, orders so far.
local function day_of(pool)
  if not pool.day then
    return 0, 0, 0
  end
  return struct.unpack(DAY, pool.day)
end

local function pack_day(date, ends, daily)
  return struct.pack(DAY, date, ends, daily)
end

-- The date that is here ends when the next order has asked: the rules of its end have changed.
local function ask_for_date(pool)
  local date, _, daily = day_of(pool)
  redis.call('HSET', pool.key, 'day', pack_day(date, 0, daily))
end

-- How many orders a date has had that begins now: it and those before it are ahead no more.
local function take_ahead(pool, date)
  local packed = redis.call('HGET', pool.key, 'da') or ''
  local kept, daily = '', 0
  for at = 1, #packed, AHEAD_BYTES do
    local ahead, orders = struct.unpack(AHEAD, packed, at)
    if ahead == date then
      daily = orders
    elseif ahead > date then
      kept = kept .. string.sub(packed, at, at + AHEAD_BYTES - 1)
    end
  end
  if kept ~= '' then
    redis.call('HSET', pool.key, 'da', kept)
  elseif packed ~= '' then
    redis.call('HDEL', pool.key, 'da')
  end
  return daily
end

-- Notes how many orders a date has had that is ahead of the present one.
local function note_ahead(pool, date, daily)
  local packed = redis.call('HGET', pool.key, 'da') or ''
  local kept = ''
  for at = 1, #packed, AHEAD_BYTES do
    local ahead, orders = struct.unpack(AHEAD, packed, at)
    if ahead == date then
      daily = math.max(daily, orders)
    else
      kept = kept .. string.sub(packed, at, at + AHEAD_BYTES - 1)
    end
  end
  redis.call('HSET', pool.key, 'da', kept .. struct.pack(AHEAD, date, daily))
end

-- An order of the date that was given before, at `given`: the next one gets another place in it. Where the date was set
-- back since, that of the order is ahead.
local function keep_ahead_of(pool, date, daily, given)
  local here, ends, so_far = day_of(pool)
  if date < here or date == here and daily <= so_far then
    return
  end
  if date > here then
    local set = redis.call('HGET', pool.key, 'ds')
    if set and given <= tonumber(set) then
      note_ahead(pool, date, daily)
      return
    end
    ends, daily = 0, math.max(daily, take_ahead(pool, date))
  end
  pool.day = pack_day(date, ends, daily)
  redis.call('HSET', pool.key, 'day', pool.day)
end
