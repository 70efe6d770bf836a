-- All that a pool's hash says, as the Rust side reads it; nil where the restaurant is not provisioned:
--
--   version, first, last, policy, cooldown s, active window s, format, cursor, retiring live, retiring cooling

local function describe(key)
  local pool = load_pool(key)
  if not pool then
    return nil
  end
  local own = redis.call('HMGET', key, 'v', 'win')
  return {
    own[1], pool.lo, pool.hi, pool.policy, pool.cooldown, own[2], pool.format, pool.cursor, pool.retiring_live,
    pool.retiring_cooling,
  }
end
