-- The oldest live order. The pool's field 'old' has an order than which no live one is older: as long as it is live
-- itself, it is the oldest, and nothing has to be looked through.

-- So many are looked through here; where more are live, the daemon that asks walks them in pieces, outside of scripts.
local FEW = 256

-- Ids begin with their time, most significant byte first.
local function oldest_of(ids)
  local oldest, oldest_ms = '', math.huge
  for i = 1, #ids do
    local ms = struct.unpack('>I6', ids[i])
    if ms < oldest_ms then
      oldest, oldest_ms = ids[i], ms
    end
  end
  return oldest
end

-- Its id, '' where none is live; and whether that is known. Changes nothing.
local function oldest_live(pool, orders, live)
  if live == 0 then
    return '', true
  end
  local known = redis.call('HGET', pool.key, 'old')
  if known and redis.call('HEXISTS', orders, known) == 1 then
    return known, true
  end
  if live <= FEW then
    return oldest_of(redis.call('HKEYS', orders)), true
  end
  return '', false -- what is noted has ended, or is the token of a walk that goes on
end

-- The oldest served order is known less exactly: the pool's field 'sv' has an instant before which none that is served
-- was changed last, as of the walk that noted it. What is served since that walk began was changed later, so orders
-- note nothing. While a walk goes on, the field has a token instead.

-- Whether a served order may have been so for this long: else nothing has to be walked.
local function served_is_due(seconds, since, now)
  if not seconds then
    return false
  end
  since = tonumber(since or '')
  return not since or since + 1000 * seconds <= now
end
