-- The places of packed orders in their business dates.

-- The most places that the orders of a hash have of a date.
local function most_places(key, date)
  local most = 0
  for _, packed in ipairs(redis.call('HVALS', key)) do
    local of, place = struct.unpack('>I2I3', packed, 39)
    if of == date and place > most then
      most = place
    end
  end
  return most
end
