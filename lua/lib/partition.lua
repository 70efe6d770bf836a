-- The fence: a call is served only by the partition it was meant for. Costs one HMGET.
--
-- The partition hash holds: gen (which build of the data this is), seq (events so far), seed (the key of the random
-- policy), run_id (the server it was opened on).

-- Returns a refusal to hand back; or nil, the sequence of the next event, and the seed.
local function fence(partition, generation, known_sequence)
  local head = redis.call('HMGET', partition, 'gen', 'seq', 'seed')
  if head[1] ~= generation then
    return { 'closed', 'generation', head[1] or '' }
  end
  if tonumber(head[2]) < tonumber(known_sequence) then
    return { 'closed', 'behind', head[2] }
  end
  return nil, head[2] + 1, head[3]
end

-- Redis's own clock, in ms since the epoch: the daemons' clocks do not matter.
local function clock_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Appends one event and moves the sequence to it: the one place that does, so entries have no gaps. An event that
-- changed its order happened when the order says, and has '' for `at`.
local function append(partition, outbox, generation, seq, kind, at, subject, state, before, number, context)
  seq = string.format('%d', seq)
  redis.call('HSET', partition, 'seq', seq)
  redis.call('XADD', outbox, seq .. '-0', 'g', generation, 'k', kind, 't', at, 'i', subject, 'o', state, 'b', before,
    'n', number, 'x', context)
end
