#!lua
-- Says an order again that was acknowledged and then lost, as a daemon remembers it.
--
-- What is here in the same version or a newer one stays; but what has ended, has ended: where others went on with an
-- order whose end was lost, it ends after all.
--
-- Where another live order has got its number meanwhile, the later of the two is given a new one.
--
-- KEYS: partition outbox pool free cool block order num done
-- ARGV: 1 generation   2 order id (16 B)   3 the order, packed   4 context
-- Reply: ok, id of the order that was renumbered or '', its previous number, id of the order that keeps that number
--        | known | exhausted (there is no number for the later one) | unprovisioned | closed, why, detail
-- Cost: as allocate, and O(cooling).

local keys = { pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], num = KEYS[8] }
local orders, done = KEYS[7], KEYS[9]

local refusal, seq, seed = build_fence(KEYS[1], ARGV[1], true)
if refusal then
  return refusal
end
local id, o = ARGV[2], unpack_record(ARGV[3])
local live = redis.call('HGET', orders, id)
local here = live or redis.call('HGET', done, id)
if here then
  local version = unpack_record(here).version
  if version >= o.version then
    if not live or o.status < FIRST_FINAL then
      return { 'known' }
    end
    o.version = version + 1
    o.tail = unpack_record(here).tail
  end
end
local pool = load_pool(keys.pool)
if not pool then
  return { 'unprovisioned' }
end
local now = clock_ms()
local inside = in_pool(pool, keys.block, o.number)

-- Takes a number out of where it is, free or resting; nothing where neither.
local function fetch(n)
  local run = run_of(keys.free, n)
  if run then
    take(keys.free, n, run)
    return
  end
  for _, entry in ipairs(redis.call('LRANGE', keys.cool, 0, -1)) do
    local _, number = struct.unpack(COOLING, entry)
    if number == n then
      redis.call('LREM', keys.cool, 1, entry)
      if not inside then
        redis.call('HINCRBY', keys.pool, 'rc', -1)
      end
      return
    end
  end
end

-- Writes a version of a live order under a new number, and says so.
local function renumber(order_id, order)
  local n, run = settle_and_choose(keys, pool, now, seq, seed)
  if not n then
    return nil
  end
  local previous = order.number
  order.number = n
  order.version = order.version + 1
  order.updated = math.max(now, order.updated)
  order.seq = seq
  local record = pack_record(order)
  hold(keys, n, run, order_id)
  move_cursor(keys, pool, n)
  redis.call('HSET', orders, order_id, record)
  append(KEYS[1], KEYS[2], ARGV[1], seq, 'renumbered', '', order_id, record, order.status, previous, ARGV[4])
  seq = seq + 1
  return record
end

-- Writes the order as it was acknowledged, and says so.
local function state(number)
  o.seq = seq
  local record = pack_record(o)
  append(KEYS[1], KEYS[2], ARGV[1], seq, 'restated', now, id, record, '', number, ARGV[4])
  return record
end

if o.status >= FIRST_FINAL then
  local free_at = o.released + o.cooldown * 1000
  local rests = free_at > now
  local holder = redis.call('HGET', keys.num, o.number)
  if live then
    redis.call('HDEL', orders, id)
    if not inside then
      redis.call('HINCRBY', keys.pool, 'rl', -1)
    end
    if rests then
      rest(keys.cool, o.number, free_at)
      if not inside then
        redis.call('HINCRBY', keys.pool, 'rc', 1)
      end
    elseif inside then
      give(keys.free, o.number, pool.cursor)
    end
  elseif rests and run_of(keys.free, o.number) then
    fetch(o.number)
    rest(keys.cool, o.number, free_at)
  end
  if not holder or holder == id then
    redis.call('HSET', keys.num, o.number, id)
  end
  local record = state(rests and free_at or '')
  redis.call('HSET', done, id, record)
  return { 'ok', '', '', '' }
end

if live then
  local before = unpack_record(live)
  if before.number == o.number then
    local record = state('')
    redis.call('HSET', orders, id, record)
    return { 'ok', '', '', '' }
  end
end
local holder = redis.call('HGET', keys.num, o.number)
local held = holder and holder ~= id and redis.call('HGET', orders, holder)
if not held then
  fetch(o.number)
  if not inside then
    redis.call('HINCRBY', keys.pool, 'rl', 1)
  end
  local record = state('')
  redis.call('HSET', orders, id, record)
  redis.call('HSET', keys.num, o.number, id)
  return { 'ok', '', '', '' }
end
if id > holder then
  local previous = o.number
  if not renumber(id, o) then
    return { 'exhausted' }
  end
  return { 'ok', id, previous, holder }
end
local other = unpack_record(held)
local previous = other.number
if not renumber(holder, other) then
  return { 'exhausted' }
end
local record = state('')
redis.call('HSET', orders, id, record)
redis.call('HSET', keys.num, o.number, id)
return { 'ok', holder, previous, id }
