-- The business date that orders belong to, and how many it has had: pool.date, pool.ends and pool.daily.
--
-- Which date comes next is the daemon's to say: it knows time zones. The pool holds it, and until its end no daemon's
-- opinion counts. From then on the script answers `date`, and takes the next one where it follows the one that is here:
-- daemons that are not of one mind cannot flip it back and forth.
--
-- Two more fields, absent in nearly all pools: da, the dates ahead of this one that have had orders, since the date was
-- set back or an import brought them (date 2 B, orders 3 B, each); and ds, when the date was last set by hand (ms).

local AHEAD, AHEAD_BYTES = '>I2I3', 5
local DAY_MS = 86400000

-- Whether a date is at most one day from that of UTC at `at`.
local function is_near(date, at)
  return math.abs(date - math.floor(at / DAY_MS)) <= 1
end

-- The date that is here ends when the next order has asked: the rules of its end have changed.
local function ask_for_date(pool)
  pool.ends = 0
  redis.call('HSET', pool.key, 'day', pack_day(pool))
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
  if date < pool.date or date == pool.date and daily <= pool.daily then
    return
  end
  if date > pool.date then
    local set = redis.call('HGET', pool.key, 'ds')
    if set and given <= tonumber(set) then
      note_ahead(pool, date, daily)
      return
    end
    pool.ends, daily = 0, math.max(daily, take_ahead(pool, date))
  end
  pool.date, pool.daily = date, daily
  redis.call('HSET', pool.key, 'day', pack_day(pool))
end
