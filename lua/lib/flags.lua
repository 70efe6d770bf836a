-- Bits of a number: what may be so, or not, beside others.

local function has(flags, flag)
  return flags % (2 * flag) >= flag
end
