-- What a rebuild of Redis needs.

-- A lease on building a partition's next generation: one daemon builds, the others wait. It spares them the work; what
-- keeps two builders apart is the compare-and-set of the generation.
ALTER TABLE outbox_progress
    ADD COLUMN builder       uuid,
    ADD COLUMN builder_until timestamptz,
    ADD CHECK ((builder IS NULL) = (builder_until IS NULL));

-- Idempotency keys of a restaurant within their window. Key and id never change, so changes of the order stay heap-only.
CREATE INDEX orders_by_idempotency_key ON orders (restaurant_id, internal_order_id) WHERE idempotency_key IS NOT NULL;
