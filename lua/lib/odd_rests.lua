-- Resting numbers whose rest began with another cooldown than the pool has now: fields odd:N of the pool's hash say
-- with which one, so that it is known when the rest began. A field counts for the rest that ends when it says, and no
-- other.

-- cooldown s 4 B | free again at ms 6 B
local ODD_REST = '>I4I6'
-- Of a pool whose rests do not give way, one field instead (wc): the shortest cooldown of its rests 4 B, and until when
-- ms 6 B. It is there while rests may be left from before a change of the cooldown.
local SHORTEST = '>I4I6'

local function odd_field(n)
  return 'odd:' .. decimal(n, 0)
end

local function note_rest(pool, n, cooldown, free_at)
  redis.call('HSET', pool.key, odd_field(n), struct.pack(ODD_REST, cooldown, free_at))
end

-- Notes with what cooldown a number is put to rest, where that is not the pool's.
local function note_cooldown(pool, n, cooldown, free_at)
  if cooldown == pool.cooldown then
    redis.call('HDEL', pool.key, odd_field(n))
  else
    note_rest(pool, n, cooldown, free_at)
  end
end

-- The cooldown with which the rest of n began that ends at `free_at`; nil where it is not noted.
local function noted_cooldown(pool, n, free_at)
  local packed = redis.call('HGET', pool.key, odd_field(n))
  if packed then
    local cooldown, noted = struct.unpack(ODD_REST, packed)
    return noted == free_at and cooldown or nil
  end
  return nil
end

-- Notes the cooldowns of all that rests, after the settings have changed from `before`. Where it is not known which of
-- several a rest began with, it is the shortest: no rest is taken for a longer one.
local function note_cooldowns(keys, pool, before, now)
  local least, until_ms = before.cooldown, 0
  local packed = redis.call('HGET', pool.key, 'wc')
  if packed then
    local shortest, lasts_until = struct.unpack(SHORTEST, packed)
    if lasts_until > now then
      least, until_ms = math.min(least, shortest), lasts_until
    end
  end
  if not has(pool.rules, REST_GIVES_WAY) then
    if before.cooldown ~= pool.cooldown then
      until_ms = math.max(until_ms, now + 1000 * before.cooldown)
      redis.call('HSET', pool.key, 'wc', struct.pack(SHORTEST, least, until_ms))
    end
    return
  end
  redis.call('HDEL', pool.key, 'wc')
  local resting = redis.call('ZRANGE', keys.cool, 0, -1, 'WITHSCORES')
  local known = {}
  for i = 1, #resting, 2 do
    known[odd_field(resting[i])] = true
    local free_at = tonumber(resting[i + 1])
    if not noted_cooldown(pool, resting[i], free_at) and least ~= pool.cooldown then
      note_rest(pool, resting[i], least, free_at)
    end
  end
  for _, field in ipairs(redis.call('HKEYS', pool.key)) do
    if string.sub(field, 1, 4) == 'odd:' and not known[field] then
      redis.call('HDEL', pool.key, field)
    end
  end
end
