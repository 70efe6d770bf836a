#!lua flags=allow-oom
-- Lets an outbox go on behind the partition's last event, once what others put into it is gone.
--
-- Redis remembers the id of the last entry that there was, and takes none that is not greater.
--
-- May run while Redis is full (allow-oom): it writes nothing new.
--
-- KEYS: partition outbox
-- ARGV: none
-- Reply: ok
-- Cost: O(1).

local seq = redis.call('HGET', KEYS[1], 'seq')
if seq and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('XSETID', KEYS[2], seq .. '-0')
end
return { 'ok' }
