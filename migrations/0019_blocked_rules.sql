-- Blocked numbers may be ranges and patterns as well, which the integers of `blocked_numbers` cannot say. Where there are
-- any, `blocked` has all entries as text, '13,400-499,*4*', and `blocked_numbers` the single numbers among them.
--
-- Older daemons, which go on until they are replaced, write `blocked_numbers` and `version` alone. So `blocked` counts
-- only for the version that it was written with.
ALTER TABLE restaurants
    ADD COLUMN blocked         text,
    ADD COLUMN blocked_version integer,
    ADD CONSTRAINT restaurants_blocked CHECK ((blocked IS NULL) = (blocked_version IS NULL));
