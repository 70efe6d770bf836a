-- The partitions of one month, in both tables. Made ahead of time by the daemon; there is no default partition, because
-- it would have to be searched each time a month is made.
--
-- A month is made aside and then attached, which does not wait for writers as CREATE TABLE … PARTITION OF would. Two
-- daemons may call this at once: they take turns, and the second finds everything there. A month that was detached to
-- be dropped is not taken back.
CREATE FUNCTION ensure_month(month date) RETURNS boolean LANGUAGE plpgsql AS $$
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
        EXECUTE format('CREATE TABLE %I (LIKE orders INCLUDING ALL) WITH (fillfactor = 80)', 'orders' || suffix);
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

-- The lower bound of all order ids made on or after this day (UTC): 48 bits of Unix milliseconds, then zeros.
CREATE FUNCTION lowest_order_id(day date) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (lpad(to_hex((day - date '1970-01-01')::bigint * 86400000), 12, '0') || repeat('0', 20))::uuid
$$;
