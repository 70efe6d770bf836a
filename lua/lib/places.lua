-- The places of packed orders in their business dates.

-- Of a date: days since 1970 2 B | places 3 B.
local PLACES, PLACES_BYTES = '>I2I3', 5

-- Adds to `found`, date → places, the most that the orders of a hash have of each date from the first one on.
local function most_places(found, key, first)
  for _, packed in ipairs(redis.call('HVALS', key)) do
    local date, place = struct.unpack(PLACES, packed, 39)
    if date >= first and place > (found[date] or 0) then
      found[date] = place
    end
  end
end
