-- A business date that an admin set: it holds from then on up to its end, whatever the orders before say. A rebuild of Redis
-- goes on with it.
ALTER TABLE restaurants
    ADD COLUMN business_date         date,
    ADD COLUMN business_date_ends_at timestamptz,
    ADD COLUMN business_date_set_at  timestamptz,
    ADD CONSTRAINT restaurants_business_date CHECK (
        (business_date IS NULL) = (business_date_ends_at IS NULL)
        AND (business_date IS NULL) = (business_date_set_at IS NULL));

ALTER TABLE order_events DROP CONSTRAINT order_events_subject;
ALTER TABLE order_events
    ADD CONSTRAINT order_events_subject
        CHECK (internal_order_id IS NOT NULL OR kind IN ('configured', 'restated', 'business_date_set'));
