-- All that a pool's hash says, as the Rust side reads it; nil where the restaurant is not provisioned:
--
--   version, settings packed (see lib/pool), active window s, other rules as JSON or '', business day (see
--   lib/business_day) or '', retiring live, retiring cooling, then of each range its cursor, 0 where it has no ring
--
-- A pool of an earlier layout, which is asked for while its partition is taken over, is described too, without its
-- cursor: that layout had first, last and blocked 3 B each, cooldown 4 B, policy 1 B, and the format.

local function describe(key)
  local own = redis.call('HMGET', key, 'v', 'conf', 'win', 'rules', 'day', 'set')
  if own[6] and not own[2] then
    local earlier = own[6]
    local conf = string.sub(earlier, 1, 14) .. '\0' .. string.char(#earlier - 14) .. string.sub(earlier, 15) .. '\0'
    return { own[1], conf, own[3], '', '', 0, 0 }
  end
  local pool, retiring_live, retiring_cooling = load_pool(key, 'rl', 'rc')
  if not pool then
    return nil
  end
  local said = { own[1], own[2], own[3], own[4] or '', own[5] or '', retiring_live or 0, retiring_cooling or 0 }
  for _, range in ipairs({ pool, unpack(further_ranges(pool)) }) do
    load_ring(pool, range)
    said[#said + 1] = range.cursor
  end
  return said
end
