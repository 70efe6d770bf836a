#!lua flags=allow-oom
-- Lets go of what the ledger holds now: finished orders, and what they say of their numbers' last holders.
--
-- May run while Redis is full (allow-oom): it only deletes.
--
-- KEYS: partition, then done and num of each order's restaurant
-- ARGV: 1 generation   2 sequence up to which the ledger is durable, then for each order its id (16 B)
-- Reply: ok, orders let go | closed, why, detail
-- Cost: O(orders); 2 to 4 commands each.

local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then
  return refusal
end

local durable, count = tonumber(ARGV[2]), 0
for i = 3, #ARGV do
  local id = ARGV[i]
  local done, num = KEYS[2 * i - 4], KEYS[2 * i - 3]
  local packed = redis.call('HGET', done, id)
  if packed then
    local o = unpack_record(packed)
    if o.seq <= durable then
      if redis.call('HGET', num, o.number) == id then
        redis.call('HDEL', num, o.number)
      end
      redis.call('HDEL', done, id)
      count = count + 1
    end
  end
end
return { 'ok', count }
