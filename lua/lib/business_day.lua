-- The business date that orders belong to, and how many it has had: pool.date, pool.ends and pool.daily.
--
-- Which date comes next is the daemon's to say: it knows time zones. The pool holds it, and until its end no daemon's
-- opinion counts. From then on the script answers `date`, and takes the next one where it follows the one that is here:
-- daemons that are not of one mind cannot flip it back and forth.

-- The date that is here ends when the next order has asked: the rules of its end have changed.
local function ask_for_date(pool)
  pool.ends = 0
  redis.call('HSET', pool.key, 'day', pack_day(pool))
end

-- An order of the date that was given before: the next one gets another place in it.
local function keep_ahead_of(pool, date, daily)
  if date > pool.date then
    pool.date, pool.ends, pool.daily = date, 0, daily
  elseif date < pool.date or daily <= pool.daily then
    return
  else
    pool.daily = daily
  end
  redis.call('HSET', pool.key, 'day', pack_day(pool))
end
