-- Half of each page is left for later versions of its rows. A row that finds room on its own page for its next version
-- touches no index (a heap-only update), and dead versions are cleared away by whoever comes by. With 80 %, a batch of the
-- write-behind that changed the status of sixteen neighbours found room for four; the rest went into four indexes again,
-- which cost three times as much, and in the end more space than the room does.

ALTER TABLE display_order_slots SET (fillfactor = 50);

DO $$
DECLARE
    month regclass;
BEGIN
    FOR month IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'orders'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 50)', month);
    END LOOP;
END
$$;

-- As before, but for the room on the pages of orders.
CREATE OR REPLACE FUNCTION ensure_month(month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    first_day date := date_trunc('month', month);
    next_month date := first_day + interval '1 month';
    suffix text := to_char(first_day, '"_y"YYYY"m"MM');
    here oid := (SELECT relnamespace FROM pg_class WHERE oid = 'orders'::regclass);
    made boolean := false;
BEGIN
    IF to_regclass('orders' || suffix) IS NOT NULL AND to_regclass('order_events' || suffix) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('nowserving ensure_month', 0));
    -- to_regclass may still remember that there was nothing before the wait; a query sees what is there now.
    IF NOT EXISTS (SELECT FROM pg_class WHERE relname = 'orders' || suffix AND relnamespace = here) THEN
        -- Room on each page, so that an order's few changes of status find some on the page where it is.
        EXECUTE format('CREATE TABLE %I (LIKE orders INCLUDING ALL) WITH (fillfactor = 50)', 'orders' || suffix);
        EXECUTE format('ALTER TABLE orders ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            'orders' || suffix, lowest_order_id(first_day), lowest_order_id(next_month));
        made := true;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_class WHERE relname = 'order_events' || suffix AND relnamespace = here) THEN
        EXECUTE format('CREATE TABLE %I (LIKE order_events INCLUDING ALL)', 'order_events' || suffix);
        EXECUTE format('ALTER TABLE order_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            'order_events' || suffix,
            first_day::timestamp AT TIME ZONE 'UTC', next_month::timestamp AT TIME ZONE 'UTC');
        made := true;
    END IF;
    RETURN made;
END
$$;

