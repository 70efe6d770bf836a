-- A completed order may be reopened as long as its number rests for it: a wrong bump. What is there of it more than once, an
-- end above all, is compared by how often it was reopened before anything else.
ALTER TABLE orders
    ADD COLUMN reopenings  integer        NOT NULL DEFAULT 0,
    -- The last time: the active window of the restaurant counts from then.
    ADD COLUMN reopened_at timestamptz(3),
    ADD CONSTRAINT orders_reopened CHECK (
        CASE WHEN reopened_at IS NULL THEN reopenings = 0
             ELSE reopenings > 0 AND display_order_number IS NOT NULL END
    );
