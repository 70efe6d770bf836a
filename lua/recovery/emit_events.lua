#!lua flags=allow-oom
-- Appends events about things as they are, to a generation that is being built or open: the ledger has lost them.
--
-- May run while Redis is full (allow-oom): recovery must not wait for room.
--
-- KEYS: partition outbox
-- ARGV: 1 generation   2 context   3... kind, subject, state, number
-- Reply: ok, sequence | closed, why, detail
-- Cost: O(events).

local refusal, seq, last_stamp = build_fence(KEYS[1], ARGV[1], true)
if refusal then
  return refusal
end
local _, stamp = read_clock(last_stamp)
for i = 3, #ARGV, 4 do
  append(KEYS[1], KEYS[2], ARGV[1], seq, stamp, ARGV[i], stamp, ARGV[i + 1], ARGV[i + 2], '', ARGV[i + 3], ARGV[2])
  seq = seq + 1
end
return { 'ok', seq - 1 }
