-- Numbers that are mistaken for others when they are called out: 13 and 30, as English says them, and 24 and 42, as
-- German does. It is the last two digits that are mistaken.

-- So many candidates give way at most: then the first one is given.
local MOST_TRIES = 8

-- The numbers that n is mistaken for, by these rules.
local function mistaken_for(rules, n)
  local hundreds, tens, ones = n - n % 100, math.floor(n % 100 / 10), n % 10
  local found = {}
  if has(rules, AVOIDS_TEEN_TY) then
    if tens == 1 and ones >= 3 then
      found[#found + 1] = decimal(hundreds, ones * 10)
    elseif ones == 0 and tens >= 3 then
      found[#found + 1] = decimal(hundreds, 10 + tens)
    end
  end
  if has(rules, AVOIDS_SWAPPED) and tens > 0 and ones > 0 and tens ~= ones then
    found[#found + 1] = decimal(hundreds, ones * 10 + tens)
  end
  return found
end

-- Whether an order has a number that n is mistaken for, or had it a moment ago: one command.
local function is_mistakable(keys, pool, n)
  local others = mistaken_for(pool.rules, n)
  if not others[1] then
    return false
  end
  local holders = redis.call('HMGET', keys.num, unpack(others))
  for i = 1, #others do
    if holders[i] then
      return true
    end
  end
  return false
end

-- The free number of the range behind n, and its run; behind the last one comes the first.
local function next_behind(keys, pool, range, n, run)
  local last = run.cursor and run.last or tonumber(run[1])
  if n < last then
    return n + 1, run
  end
  local next_run = run_from(keys.free, pool, range, n + 1)
  if next_run[1] then
    return tonumber(next_run[2]), next_run
  end
  local first_run = run_from(keys.free, pool, range, range.lo)
  return first_run[1] and tonumber(first_run[2]) or nil, first_run
end

-- The number to give in place of n, which `choose` found in this run, its run, and whether it is another one.
local function avoid(keys, pool, range, n, run)
  local candidate, in_run = n, run
  for _ = 1, MOST_TRIES do
    if not is_mistakable(keys, pool, candidate) then
      return candidate, in_run, candidate ~= n
    end
    candidate, in_run = next_behind(keys, pool, range, candidate, in_run)
    if not candidate or candidate == n then
      break
    end
  end
  return n, run, false
end
