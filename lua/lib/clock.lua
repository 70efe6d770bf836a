-- Time. Redis's own clock decides, and no clock has authority alone: it may be set, forwards or backwards.

-- Redis's clock in ms since the epoch, with which rests are compared; and the stamp of what happens now: the later of
-- it and the partition's last stamp, so that stamps never go back. Every change asks, so it calls no function of math.
local function read_clock(last_stamp)
  local time = redis.call('TIME')
  local ms = time[2] / 1000
  local now, last = time[1] * 1000 + ms - ms % 1, last_stamp and tonumber(last_stamp) or 0
  return now, last > now and last or now
end

-- Whether a call that was made at `made`, by its daemon's idea of this clock, is served: not after FRESHNESS_MS, when
-- what it did may be forgotten, and not from further ahead than clocks may drift apart.
local function is_fresh(now, made)
  return made >= now - FRESHNESS_MS and made <= now + DRIFT_MS
end
