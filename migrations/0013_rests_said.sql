-- That numbers rest which no order has given back is said in the log as recovery says it of orders: `restated`, without an
-- order and so without a version.
ALTER TABLE order_events ALTER COLUMN version DROP NOT NULL;
ALTER TABLE order_events DROP CONSTRAINT order_events_subject;
UPDATE order_events
SET kind = 'restated', version = NULL, detail = detail || jsonb_build_object('cause', kind)
WHERE kind IN ('skipped', 'reclaimed');
ALTER TABLE order_events
    ADD CONSTRAINT order_events_subject CHECK (internal_order_id IS NOT NULL OR kind IN ('configured', 'restated'));
