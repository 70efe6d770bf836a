-- The fence of recovery: a partition that is being built serves its builder only.
--
-- While a generation is being built, the partition hash holds gen = 0 and building = that generation. It was taken by
-- compare-and-set in the ledger, so of two builders that believe they are the only one, the older one is refused here.

-- Returns a refusal to hand back; or nil, the sequence of the next event, and the last stamp. With
-- `or_open`, a partition that is open under this generation is served too.
local function build_fence(partition, generation, or_open)
  local head = redis.call('HMGET', partition, 'gen', 'seq', 'at', 'building')
  if head[4] == generation or (or_open and head[1] == generation) then
    return nil, head[2] + 1, head[3]
  end
  return { 'closed', 'generation', head[4] or head[1] or '' }
end
