-- Retention: what is wholly older than is kept is let go of month by month, never row by row.

-- The aliases of a month's orders go with them.
CREATE INDEX order_aliases_by_order ON order_aliases (internal_order_id);

-- Detaches one month of `orders` or `order_events` and gives it another name, under which it waits to be dropped. So a
-- crash in between leaves nothing half done, and ensure_month can make the month anew for an event that comes late.
--
-- Answers with what became of it:
--   set_aside   it is detached
--   in_use      a number that is not free belongs to one of its orders: a rebuild of Redis reads it
--   busy        others are at work there, or an earlier build of this month waits to be dropped: try again later
--   absent      there is no such month
--
-- DETACH … CONCURRENTLY cannot run within a transaction, so this is the plain one: it keeps everybody from the table for
-- the moment that the catalog takes. It waits for that moment only briefly, since all that come later wait behind it.
CREATE FUNCTION set_aside_month(parent text, month date) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    first_day date := date_trunc('month', month);
    next_month date := first_day + interval '1 month';
    name text := parent || to_char(first_day, '"_y"YYYY"m"MM');
    aside text := 'dropped_' || name;
BEGIN
    -- Making and removing months take turns.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('nowserving ensure_month', 0))
        OR to_regclass(aside) IS NOT NULL THEN
        RETURN 'busy';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(name) AND inhparent = to_regclass(parent)) THEN
        RETURN 'absent';
    END IF;
    PERFORM set_config('lock_timeout', '200ms', true);
    -- Whoever writes an order writes its number in the same transaction: once this lock is there, what is looked for next
    -- is either seen or comes later, and then finds no month.
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', name);
    IF parent = 'orders' AND EXISTS (
        SELECT FROM display_order_slots
        WHERE current_order_id >= lowest_order_id(first_day) AND current_order_id < lowest_order_id(next_month)
    ) THEN
        RETURN 'in_use';
    END IF;
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, name);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', name, aside);
    RETURN 'set_aside';
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN 'busy';
END
$$;

-- Drops a month that was set aside; nothing where another daemon has done it.
CREATE FUNCTION drop_set_aside(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF name !~ '^dropped_(orders|order_events)_y\d{4}m\d{2}$' THEN
        RAISE EXCEPTION 'not a month that was set aside: %', name;
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', name);
END
$$;
