-- The fence: a call is served only by the partition it was meant for. Costs one HMGET.
--
-- The partition hash holds: gen (which build of the data this is), seq (events so far), at (the last stamp, ms), seed
-- (the key of the random policy), run_id (the server it was opened on), layout (of the records in it).

-- Returns a refusal to hand back; or nil, the sequence of the next event, and the last stamp.
local function fence(partition, generation, known_sequence)
  local head = redis.call('HMGET', partition, 'gen', 'seq', 'at')
  if head[1] ~= generation then
    return { 'closed', 'generation', head[1] or '' }
  end
  local seq = head[2]
  -- Decimals without leading zeros: the shorter is the smaller.
  if #seq < #known_sequence or #seq == #known_sequence and seq < known_sequence then
    return { 'closed', 'behind', seq }
  end
  return nil, seq + 1, head[3]
end

-- Appends one event and moves the sequence and the last stamp to it: the one place that does, so entries have no gaps.
-- `at` is '' for an event that changed its order: it happened when the order says.
--
-- An entry has four fields, since each costs Redis as much as a small command of its own: e, the words 'generation kind
-- at before' and then the number, which may be any bytes; i, the subject; o, the state; x, the context.
local function append(partition, outbox, generation, seq, stamp, kind, at, subject, state, before, number, context)
  seq = string.format('%d', seq)
  redis.call('HSET', partition, 'seq', seq, 'at', string.format('%d', stamp))
  local head = generation .. ' ' .. kind .. ' ' .. at .. ' ' .. before .. ' ' .. number
  -- The id of the entry is <sequence>-0.
  redis.call('XADD', outbox, seq, 'e', head, 'i', subject, 'o', state, 'x', context)
end
