-- Numbers: bits of them, that say what may be so or not beside others, and their decimals.

local function has(flags, flag)
  return flags % (2 * flag) >= flag
end

-- n + step as a decimal. Redis takes numbers too, but turns them into decimals in a slower way.
local function decimal(n, step)
  return string.format('%d', n + step)
end
