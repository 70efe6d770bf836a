-- No clock has authority alone. What Redis stamped is compared with what Redis stamped; and what cannot be undone waits.

-- When the number was given: its life begins here, and not when the daemon began to ask (created_at). Null in rows from
-- before; all of those are older than any that has it.
ALTER TABLE orders ADD COLUMN given_at timestamptz(3);

-- Who had a number at an instant is read from the index alone.
CREATE INDEX orders_by_number_given ON orders (restaurant_id, display_order_number, internal_order_id) INCLUDE (given_at);
DROP INDEX orders_by_number;
ALTER INDEX orders_by_number_given RENAME TO orders_by_number;

-- The latest stamp of an event of the partition: a Redis that is filled from the ledger goes on behind it.
ALTER TABLE outbox_progress ADD COLUMN stamped_at timestamptz(3);

-- Numbers may rest that no order has given back: those that were skipped after a loss, and those that had leaked.
ALTER TABLE display_order_slots
    ALTER COLUMN current_order_id DROP NOT NULL,
    ADD CONSTRAINT display_order_slots_holder CHECK (current_order_id IS NOT NULL OR status = 'cooling');
DO $$
DECLARE
    checks text;
BEGIN
    SELECT conname INTO STRICT checks FROM pg_constraint
    WHERE conrelid = 'order_events'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%configured%';
    EXECUTE format('ALTER TABLE order_events DROP CONSTRAINT %I', checks);
END
$$;
ALTER TABLE order_events
    ADD CONSTRAINT order_events_subject CHECK (internal_order_id IS NOT NULL OR kind IN ('configured', 'skipped', 'reclaimed'));

-- Months that a retention has found to be over. None is dropped at first sight: a clock that is wrong may be put right.
CREATE TABLE months_due (
    parent    text        NOT NULL CHECK (parent IN ('orders', 'order_events')),
    first_day date        NOT NULL,
    -- The first of the looks that found it due and found nothing written there since.
    seen_at   timestamptz NOT NULL DEFAULT now(),
    -- Rows that were ever inserted or updated in it, as the statistics have it.
    written   bigint      NOT NULL,
    PRIMARY KEY (parent, first_day)
);

-- As before, but for a month with orders that changed since `recent`, as the audit log has it: whatever its name says, it is
-- not over. Answers `recent` for such a month. (Orders that were imported as they had ended do not count.)
DROP FUNCTION set_aside_month(text, date);
CREATE FUNCTION set_aside_month(parent text, month date, recent timestamptz) RETURNS text LANGUAGE plpgsql AS $$
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
    IF parent = 'orders' AND EXISTS (
        SELECT FROM order_events
        WHERE occurred_at >= recent AND generation > 0
          AND internal_order_id >= lowest_order_id(first_day) AND internal_order_id < lowest_order_id(next_month)
    ) THEN
        RETURN 'recent';
    END IF;
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, name);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', name, aside);
    RETURN 'set_aside';
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN 'busy';
END
$$;
