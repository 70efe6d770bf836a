-- Numbers the way restaurants count: business dates, ranges, and how a number was chosen. The order's place in its date,
-- and which orders moved the ring of which range, are what a rebuild of Redis begins with.
ALTER TABLE orders
    ADD COLUMN business_date  date,
    ADD COLUMN daily_sequence integer,
    -- The range that gave the number; null: the main one.
    ADD COLUMN number_range   text,
    -- Null where it was the next one of its range.
    ADD COLUMN number_choice  text,
    ADD CONSTRAINT orders_business_date CHECK ((business_date IS NULL) = (daily_sequence IS NULL)),
    ADD CONSTRAINT orders_number_choice
        CHECK (number_choice IN ('reserved_is_live', 'reserved_rests', 'wished', 'reserved'));

-- The settings that few restaurants have, as JSON by name; null where they are all as by default. Older daemons do not
-- write it, so it counts only for the version that it was written with.
ALTER TABLE restaurants
    ADD COLUMN rules         jsonb,
    ADD COLUMN rules_version integer,
    ADD CONSTRAINT restaurants_rules CHECK ((rules IS NULL) = (rules_version IS NULL));
