-- Change tokens: what makes a repeat of a call harmless, whatever came in between. Each change of the last seconds is
-- kept with the version that it led to, oldest first:
--
--   token 8 B | version 4 B | ms 6 B
--
-- A call brings its token and when it was made (8 B, 6 B). One that is older than tokens are kept is not served: see
-- is_fresh. They are kept for longer by as much as the clock of its daemon may be ahead.

local TOKEN_BYTES = 18
local MOST_TOKENS = 255

-- Token and instant of a call.
local function unpack_call(packed)
  return string.sub(packed, 1, 8), (struct.unpack('>I6', packed, 9))
end

-- The version that the call with this token led to; nil where it was not served, as far as is remembered.
local function version_made_by(tokens, token)
  local at = string.find(tokens, token, 1, true)
  -- Two neighbours may have its bytes between them.
  while at and at % TOKEN_BYTES ~= 1 do
    at = string.find(tokens, token, at + 1, true)
  end
  return at and (struct.unpack('>I4', tokens, at + 8))
end

-- The tokens of the last seconds and this one; nil where that would be too many. Those from before a step of the clock
-- go too: no repeat of their calls is fresh.
local function remember(tokens, token, version, now)
  local from = 1
  while from <= #tokens and math.abs(now - struct.unpack('>I6', tokens, from + 12)) > FRESHNESS_MS + DRIFT_MS do
    from = from + TOKEN_BYTES
  end
  if #tokens - from + 1 >= MOST_TOKENS * TOKEN_BYTES then
    return nil
  end
  return string.sub(tokens, from) .. token .. struct.pack('>I4I6', version, now)
end
