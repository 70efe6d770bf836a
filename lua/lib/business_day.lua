-- The business date that orders belong to, and how many it has had: the pool's field 'day',
--
--   date, days since 1970, 2 B | its end ms 6 B (0: to be asked for) | orders so far 3 B
--
-- Which date comes next is the daemon's to say: it knows time zones. The pool holds it, and until its end no daemon's
-- opinion counts. From then on the script answers `date`, and takes the next one where it follows the one that is here:
-- daemons that are not of one mind cannot flip it back and forth.

local DAY = '>I2I6I3'

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

-- An order of the date that was given before: the next one gets another place in it.
local function keep_ahead_of(pool, date, daily)
  local here, ends, so_far = day_of(pool)
  if date > here then
    ends = 0
  elseif date < here or daily <= so_far then
    return
  end
  pool.day = pack_day(date, ends, daily)
  redis.call('HSET', pool.key, 'day', pool.day)
end
