#!lua flags=allow-oom
-- Says an order again that was acknowledged and then lost, as a daemon remembers it.
--
-- What is here in the same version or a newer one stays; but what has ended, has ended: where others went on with an
-- order whose end was lost, it ends after all, and where others ended it, it stays ended. What comes first is how often
-- it was reopened: the end before a reopening does not win over that.
--
-- Where another live order has got its number meanwhile, the later of the two is given a new one. With `patient` it is
-- left, and so is one that has ended and whose number is to rest while an earlier order has it: another daemon may
-- be about to say that the other one has ended. An order that has been given a new number keeps it, whatever is
-- remembered of its old one.
--
-- May run while Redis is full (allow-oom): recovery must not wait for room.
--
-- KEYS: partition outbox pool free cool block order num done
-- ARGV: 1 generation   2 order id (16 B)   3 the order, packed   4 context   5 patient: '1' or ''
--       6 digests of its idempotency key and body (32 B) or ''
-- Reply: ok, sequence, id of the order that was renumbered or '', its previous number, id of the order that keeps it
--        | known, sequence | held (with `patient`) | exhausted (there is no number for the later one: nothing is done)
--        | unprovisioned | closed, why, detail
-- Cost: as allocate_order.

local keys = { partition = KEYS[1], pool = KEYS[3], free = KEYS[4], cool = KEYS[5], block = KEYS[6], num = KEYS[8] }
local orders, done = KEYS[7], KEYS[9]

local refusal, seq, last_stamp = build_fence(KEYS[1], ARGV[1], true)
if refusal then
  return refusal
end

-- Whether what is said of the order goes before what is here of it.
local function supersedes(said, here)
  if said.reopenings ~= here.reopenings then
    return said.reopenings > here.reopenings
  end
  local ends, has_ended = said.status >= FIRST_FINAL, here.status >= FIRST_FINAL
  if ends or has_ended then
    return ends and not has_ended
  end
  return said.version > here.version
end

local id, o = ARGV[2], unpack_record(ARGV[3])
local live = redis.call('HGET', orders, id)
local known = live or redis.call('HGET', done, id)
if known then
  local here = unpack_record(known)
  if not supersedes(o, here) then
    return { 'known', seq - 1 }
  end
  if here.version >= o.version then
    o.version = here.version + 1
    o.tail = here.tail
    if has(here.flags, WAS_CALLED) and here.calls > (o.calls or 0) then
      o.calls, o.called = here.calls, here.called
      o.flags = has(o.flags, WAS_CALLED) and o.flags or o.flags + WAS_CALLED
    end
    if live and o.status < FIRST_FINAL then
      o.status = here.status -- others went on with it, and did not know that it was reopened
    end
  end
  o.number = here.number
  -- Its life under that number begins with it, and does not end before.
  o.given = here.given
  if o.status >= FIRST_FINAL then
    o.released = math.max(o.released, o.given)
  end
end
local pool = load_pool(keys.pool)
if not pool then
  return { 'unprovisioned' }
end
-- Never before what is said here: the stamps that were lost go on, too.
local now, stamp = read_clock(last_stamp)
stamp = math.max(stamp, o.updated)
local inside = in_pool(pool, keys.block, o.number)
keep_ahead_of(pool, o.date, o.daily, o.given)

-- Takes a number out of where it is, free or resting for less long; false where it is neither.
local function fetch(n, before)
  local run = run_of(keys, pool, n)
  if run then
    take(keys, pool, n, run)
    return true
  end
  if not redis.call('ZSCORE', keys.cool, n) or before < math.huge and (rest_of(keys, pool, n) or 0) >= before then
    return false
  end
  redis.call('ZREM', keys.cool, n)
  if not inside then
    redis.call('HINCRBY', keys.pool, 'rc', -1)
  end
  return true
end

-- When the rest of a number ends; nil where it does not rest.
local function end_of_rest(n)
  local free_at = rest_of(keys, pool, n)
  return free_at and free_at > now and free_at or nil
end

-- Puts a number to rest that is in no state.
local function put_to_rest(n, free_at)
  if has(pool.rules, REST_GIVES_WAY) or o.cooldown ~= pool.cooldown then
    note_cooldown(pool, n, o.cooldown, free_at)
  end
  rest(keys, pool, n, free_at)
  if not inside then
    redis.call('HINCRBY', keys.pool, 'rc', 1)
  end
end

-- Holds an order as a live one; where it had ended, it was reopened since.
local function hold_live(order_id, record)
  redis.call('HSET', orders, order_id, record)
  redis.call('HDEL', done, order_id)
  redis.call('HDEL', keys.pool, 'old', 'sv') -- it may be older
end

-- Writes a version of a live order under a new number, and says so, with the digests that belong to it.
local function renumber(order_id, order, digests)
  local range = range_at(pool, order.number) or pool
  local n, run = settle_and_choose(keys, pool, range, now, seq)
  if not n and range ~= pool then
    range = pool
    n, run = choose(keys, pool, pool, seq)
  end
  if not n then
    return nil
  end
  local previous = order.number
  order.number = n
  order.version = order.version + 1
  order.updated = stamp
  order.given = stamp
  order.seq = seq
  local record = pack_record(order)
  use(keys, pool, range, n, run)
  if range.policy == 's' then
    store_ring(pool, range)
  end
  redis.call('HSET', keys.num, n, order_id)
  hold_live(order_id, record)
  append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'renumbered', '', order_id, record, order.status,
    previous .. ' ' .. digests, ARGV[4])
  seq = seq + 1
  return record
end

-- Writes the order as it was acknowledged, and says so.
local function state(number)
  o.seq = seq
  local record = pack_record(o)
  append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, 'restated', stamp, id, record, '', number, ARGV[4])
  return record
end

if o.status >= FIRST_FINAL then
  local free_at = o.free_at
  local rests, left = free_at > now, nil
  local holder = redis.call('HGET', keys.num, o.number)
  local waits = ARGV[5] == '1' and not live and rests and holder and holder < id
  if waits and redis.call('HEXISTS', orders, holder) == 1 then
    -- Its rest would be forgotten: the number cannot rest before the earlier one has ended.
    return { 'held' }
  end
  if live then
    redis.call('HDEL', orders, id)
    if not inside then
      redis.call('HINCRBY', keys.pool, 'rl', -1)
    end
    if rests then
      put_to_rest(o.number, free_at)
    elseif inside then
      give(keys, pool, o.number)
    end
  elseif rests and fetch(o.number, free_at) then
    -- Free, or resting since an order had it before this one.
    put_to_rest(o.number, free_at)
  elseif not rests and (not holder or holder <= id) then
    -- What it was freed from may be back: the rest since an end before its reopening. That goes on, and the log
    -- says so.
    left = end_of_rest(o.number)
  end
  if not holder or holder <= id and redis.call('HEXISTS', orders, holder) == 0 then
    redis.call('HSET', keys.num, o.number, id)
  end
  local record = state(rests and free_at or left or '')
  redis.call('HSET', done, id, record)
  return { 'ok', seq, '', '', '' }
end

if live then
  local record = state(ARGV[6])
  redis.call('HSET', orders, id, record)
  redis.call('HDEL', keys.pool, 'sv') -- it may have been served before
  return { 'ok', seq, '', '', '' }
end
local holder = redis.call('HGET', keys.num, o.number)
local held = holder and holder ~= id and redis.call('HGET', orders, holder)
if not held then
  fetch(o.number, math.huge)
  if not inside then
    redis.call('HINCRBY', keys.pool, 'rl', 1)
  end
  local record = state(ARGV[6])
  hold_live(id, record)
  redis.call('HSET', keys.num, o.number, id)
  return { 'ok', seq, '', '', '' }
end
if ARGV[5] == '1' then
  return { 'held' }
end
if id > holder then
  local previous = o.number
  if not renumber(id, o, ARGV[6]) then
    return { 'exhausted' }
  end
  return { 'ok', seq - 1, id, previous, holder }
end
local other = unpack_record(held)
local previous = other.number
if not renumber(holder, other, '') then
  return { 'exhausted' }
end
local record = state(ARGV[6])
hold_live(id, record)
redis.call('HSET', keys.num, o.number, id)
return { 'ok', seq, holder, previous, id }
