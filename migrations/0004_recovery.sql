-- What a rebuild of Redis needs.

-- A lease on building a partition's next generation: one daemon builds, the others wait. It spares them the work; what
-- keeps two builders apart is the compare-and-set of the generation.
ALTER TABLE outbox_progress
    ADD COLUMN builder       uuid,
    ADD COLUMN builder_until timestamptz,
    ADD CHECK ((builder IS NULL) = (builder_until IS NULL));

-- The daemons that run: each says so about once a second. A builder waits for what the others remember.
CREATE TABLE daemons (
    id      uuid        PRIMARY KEY,
    -- The Redis servers, by run_id, on which it has partitions open.
    servers text[]      NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- Up to which generation of a partition each daemon has said again what it saw acknowledged before it.
CREATE TABLE recalls (
    daemon     uuid     NOT NULL REFERENCES daemons ON DELETE CASCADE,
    partition  smallint NOT NULL,
    generation bigint   NOT NULL CHECK (generation > 0),
    PRIMARY KEY (daemon, partition)
);

-- Idempotency keys of a restaurant within their window. Key and id never change, so changes of the order stay heap-only.
CREATE INDEX orders_by_idempotency_key ON orders (restaurant_id, internal_order_id) WHERE idempotency_key IS NOT NULL;
