-- What a kitchen cooks, and how often its guest was told: a rebuild of Redis goes on with the count and the last
-- call.
ALTER TABLE orders
    -- A list of {name, quantity, note, station}; null where none were given.
    ADD COLUMN items          jsonb,
    ADD COLUMN call_count     integer        NOT NULL DEFAULT 0,
    ADD COLUMN last_called_at timestamptz(3),
    ADD CONSTRAINT orders_called CHECK ((last_called_at IS NULL) = (call_count = 0));
