-- How full each restaurant's pool was: samples, rolled up by hour, each kept by age.

-- Who does what only one daemon of a deployment has to do, and until when, by this server's clock. Spares the others the
-- work, and proves nothing.
CREATE TABLE leases (
    name   text        PRIMARY KEY,
    holder uuid        NOT NULL,
    until  timestamptz NOT NULL
) WITH (fillfactor = 20);

-- One row a restaurant and span of time (`usage.sample_seconds`), named by the span's beginning. Restaurants where nothing
-- is live or cooling and nothing happens have none.
CREATE TABLE slot_usage (
    restaurant_id integer        NOT NULL,
    sampled_at    timestamptz(0) NOT NULL,
    -- As the survey counted them at about the span's end. Null where none did, for one that only was counted in.
    live          integer        CHECK (live >= 0),
    cooling       integer        CHECK (cooling >= 0),
    free          integer        CHECK (free >= 0),
    -- What happened within the span; each daemon adds its own. What could not be written in time is in a later span.
    allocations   integer        NOT NULL CHECK (allocations >= 0),
    exhaustions   integer        NOT NULL CHECK (exhaustions >= 0),
    PRIMARY KEY (restaurant_id, sampled_at),
    CHECK ((live IS NULL) = (cooling IS NULL) AND (live IS NULL) = (free IS NULL))
) PARTITION BY RANGE (sampled_at);

-- Rows come in the order of their time, so this finds the latest ones in next to no room, and an update stays heap-only.
CREATE INDEX slot_usage_by_time ON slot_usage USING brin (sampled_at) WITH (pages_per_range = 16, autosummarize = true);

-- One row a restaurant and hour, made from its samples.
CREATE TABLE slot_usage_hourly (
    restaurant_id    integer        NOT NULL,
    hour             timestamptz(0) NOT NULL,
    -- How many samples of the hour the survey counted; means are over these, peaks and least among them, and 0 or null
    -- where there are none.
    samples          integer        NOT NULL CHECK (samples >= 0),
    live_mean        real           NOT NULL,
    live_peak        integer        NOT NULL,
    cooling_mean     real           NOT NULL,
    cooling_peak     integer        NOT NULL,
    free_least       integer,
    -- (live + cooling) ÷ (live + cooling + free).
    utilization_mean real           NOT NULL,
    utilization_peak real           NOT NULL,
    allocations      integer        NOT NULL,
    exhaustions      integer        NOT NULL,
    PRIMARY KEY (restaurant_id, hour),
    CHECK ((samples = 0) = (free_least IS NULL))
) PARTITION BY RANGE (hour);

-- The hours that have samples. Whoever writes samples locks their hour's row, and so does the roll-up: it misses none.
CREATE TABLE usage_hours (
    hour        timestamptz(0) PRIMARY KEY,
    -- Whether slot_usage_hourly has all samples of the hour that there are. A late one makes it false again.
    rolled_up   boolean        NOT NULL DEFAULT false,
    -- The latest sample of the hour that the survey counted.
    surveyed_at timestamptz(0)
) WITH (fillfactor = 50);

-- The last batch of samples that each daemon has written: counts are added up, so a batch that is sent again must be known.
CREATE TABLE usage_writers (
    daemon     uuid        PRIMARY KEY,
    batch      bigint      NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
);

-- Makes a partition, if it is not there, as ensure_month does: aside, and then attached.
CREATE FUNCTION ensure_usage_partition(parent text, suffix text, first_day date, next_day date)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    here oid := (SELECT relnamespace FROM pg_class WHERE oid = parent::regclass);
BEGIN
    IF to_regclass(parent || suffix) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('nowserving usage partitions', 0));
    -- to_regclass may still remember that there was nothing before the wait; a query sees what is there now.
    IF EXISTS (SELECT FROM pg_class WHERE relname = parent || suffix AND relnamespace = here) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (fillfactor = 90)', parent || suffix, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, parent || suffix,
        first_day::timestamp AT TIME ZONE 'UTC', next_day::timestamp AT TIME ZONE 'UTC');
    RETURN true;
END
$$;

-- The partition of one day (UTC) of samples.
CREATE FUNCTION ensure_usage_day(day date) RETURNS boolean LANGUAGE sql AS $$
    SELECT ensure_usage_partition('slot_usage', to_char(day, '"_y"YYYY"m"MM"d"DD'), day, day + 1)
$$;

-- The partition of the hours of one month (UTC).
CREATE FUNCTION ensure_usage_month(month date) RETURNS boolean LANGUAGE sql AS $$
    SELECT ensure_usage_partition('slot_usage_hourly', to_char(month, '"_y"YYYY"m"MM'),
        date_trunc('month', month::timestamp)::date, (date_trunc('month', month::timestamp) + interval '1 month')::date)
$$;

-- Drops the days of samples and the months of hours that end before these days. Waits for readers and writers only
-- briefly, since whoever comes later waits behind it: what it does not get it leaves to the next call. Gives the number
-- of partitions that it dropped.
CREATE FUNCTION drop_usage_before(day date, month date) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
DECLARE
    partition text;
    dropped integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('nowserving usage partitions', 0)) THEN
        RETURN 0;
    END IF;
    FOR partition IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'slot_usage'::regclass AND relname < 'slot_usage' || to_char(day, '"_y"YYYY"m"MM"d"DD')
           OR inhparent = 'slot_usage_hourly'::regclass
              AND relname < 'slot_usage_hourly' || to_char(month, '"_y"YYYY"m"MM')
        ORDER BY relname
    LOOP
        BEGIN
            EXECUTE format('DROP TABLE %I', partition);
            dropped := dropped + 1;
        EXCEPTION WHEN lock_not_available THEN
            EXIT;
        END;
    END LOOP;
    RETURN dropped;
END
$$;
