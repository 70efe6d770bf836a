-- The ledger: what every order was and is, every change that was made, and how far the outbox has been written.
--
-- Times are kept to the millisecond, as Redis gives them. Only the primary keys are unique: the write-behind folds a
-- batch to one row a key before it writes.

-- What was fixed when this deployment was made. One row; every daemon checks it at start.
CREATE TABLE deployment (
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    -- Which restaurant lies in which partition follows from this number: it never changes.
    partitions smallint    NOT NULL CHECK (partitions BETWEEN 1 AND 16384),
    -- Keys the hash that the `random` policy draws from.
    seed       bytea       NOT NULL CHECK (octet_length(seed) = 16),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The settings of each restaurant that has any of its own.
CREATE TABLE restaurants (
    restaurant_id         integer        PRIMARY KEY CHECK (restaurant_id > 0),
    min_number            integer        NOT NULL,
    max_number            integer        NOT NULL,
    policy                text           NOT NULL,
    cooldown_seconds      integer        NOT NULL CHECK (cooldown_seconds >= 0),
    active_window_seconds integer        NOT NULL CHECK (active_window_seconds > 0),
    blocked_numbers       integer[]      NOT NULL,
    format                text           NOT NULL,
    -- Counts the changes of the settings: an older change never replaces a newer one.
    version               integer        NOT NULL CHECK (version > 0),
    updated_at            timestamptz(3) NOT NULL,
    CHECK (min_number BETWEEN 1 AND max_number AND max_number <= 999999)
);

-- Every order as it stood after its latest durable change. Partitioned by its key: an id begins with the milliseconds
-- of its creation, so a month is a range of ids, and the key stays unique over all months (see ensure_month).
CREATE TABLE orders (
    internal_order_id        uuid           NOT NULL,
    restaurant_id            integer        NOT NULL CHECK (restaurant_id > 0),
    -- Null only for orders that had ended before they came here.
    display_order_number     integer,
    -- What was shown stays with the order, whatever becomes of the restaurant's format.
    display_number_formatted text,
    number_format            text           NOT NULL,
    order_number             text,
    -- Whether another system gave `order_number`; if not, it follows from restaurant and number.
    order_number_given       boolean        NOT NULL,
    status                   text           NOT NULL,
    table_number             text,
    order_source             text,
    order_type               text,
    external_id              text,
    customer_name            text,
    -- customer_name in lower case, folded by the service and not by the database's locale: a search means the same here
    -- and in memory.
    customer_name_folded     text,
    note                     text,
    metadata                 jsonb,
    created_at               timestamptz(3) NOT NULL,
    updated_at               timestamptz(3) NOT NULL,
    released_at              timestamptz(3),
    cooldown_seconds         integer        NOT NULL CHECK (cooldown_seconds >= 0),
    -- Counts the changes of this order: an older one never replaces a newer one.
    version                  integer        NOT NULL CHECK (version > 0),
    -- The partition's sequence at the latest change.
    sequence                 bigint         NOT NULL CHECK (sequence >= 0),
    -- Digests of the Idempotency-Key and of the body that made the order, so that a rebuild of Redis restores them.
    idempotency_key          bytea,
    idempotency_body         bytea,
    PRIMARY KEY (internal_order_id),
    CONSTRAINT orders_status CHECK (
        CASE WHEN released_at IS NULL
            THEN status IN ('pending', 'preparing', 'ready', 'served', 'held') AND display_order_number IS NOT NULL
            ELSE status IN ('completed', 'cancelled', 'expired')
        END
    ),
    CONSTRAINT orders_number CHECK (
        CASE WHEN display_order_number IS NULL
            THEN display_number_formatted IS NULL
            ELSE display_order_number BETWEEN 1 AND 999999
                AND display_number_formatted IS NOT NULL AND order_number IS NOT NULL
        END
    ),
    CONSTRAINT orders_idempotency CHECK (
        CASE WHEN idempotency_key IS NULL
            THEN idempotency_body IS NULL
            ELSE idempotency_body IS NOT NULL
                AND octet_length(idempotency_key) = 16 AND octet_length(idempotency_body) = 16
        END
    )
) PARTITION BY RANGE (internal_order_id);

-- Who had a number, and when. No index touches status, version or a time that changes, here or in 0003: a change of
-- status stays a heap-only update.
CREATE INDEX orders_by_number ON orders (restaurant_id, display_order_number, internal_order_id);

-- The audit log: one row a change, in the order of the partition's sequence.
CREATE TABLE order_events (
    partition            smallint       NOT NULL,
    -- Which build of the partition's data; 0 for what was imported straight into the ledger.
    generation           bigint         NOT NULL,
    sequence             bigint         NOT NULL,
    occurred_at          timestamptz(3) NOT NULL,
    kind                 text           NOT NULL,
    restaurant_id        integer        NOT NULL,
    -- Null for a change of settings; so are number and status.
    internal_order_id    uuid,
    display_order_number integer,
    status_before        text,
    status_after         text,
    -- Of the order, or of the settings, after the change.
    version              integer        NOT NULL,
    actor                text,
    request_id           text,
    -- What the columns above do not say.
    detail               jsonb,
    PRIMARY KEY (partition, generation, sequence, occurred_at),
    CHECK (internal_order_id IS NOT NULL OR kind = 'configured')
) PARTITION BY RANGE (occurred_at);

CREATE INDEX order_events_by_order ON order_events (internal_order_id) WHERE internal_order_id IS NOT NULL;
CREATE INDEX order_events_by_restaurant ON order_events (restaurant_id, occurred_at);

-- Numbers the events of imported orders, which have no place in an outbox.
CREATE SEQUENCE import_sequence CACHE 100;

-- How far each partition's outbox has been written. Its row is locked by whoever writes the partition, and moves in the
-- transaction that writes the data: that is what makes the effect exactly once.
CREATE TABLE outbox_progress (
    partition    smallint    PRIMARY KEY,
    -- Null until the first generation is opened.
    generation   bigint      CHECK (generation > 0),
    sequence     bigint      NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    -- The Redis server that the generation was made on.
    run_id       text,
    -- A lease: spares other daemons wasted work, and proves nothing.
    writer       uuid,
    writer_until timestamptz,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (generation IS NOT NULL OR sequence = 0),
    CHECK ((writer IS NULL) = (writer_until IS NULL))
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Entries that could not be written for what they hold, kept as they were.
CREATE TABLE dead_letters (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition  smallint    NOT NULL,
    generation bigint      NOT NULL,
    sequence   bigint      NOT NULL,
    entry      bytea       NOT NULL,
    -- What Postgres said; null if the entry could not even be read.
    sqlstate   text,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (partition, generation, sequence)
);

-- The UUIDs under which other systems know imported orders.
CREATE TABLE order_aliases (
    foreign_id        uuid PRIMARY KEY,
    internal_order_id uuid NOT NULL
);

-- One row for each number that is not free: what a rebuild of Redis reads, and the ledger's own alarm. A live row is
-- only ever replaced by its own order. There is no index on cooldown_expires_at on purpose: with one, each release
-- would be more than a heap-only update; the purge walks the primary key instead.
CREATE TABLE display_order_slots (
    restaurant_id       integer        NOT NULL,
    number              integer        NOT NULL,
    status              text           NOT NULL,
    current_order_id    uuid           NOT NULL,
    allocated_at        timestamptz(3) NOT NULL,
    cooldown_expires_at timestamptz(3),
    PRIMARY KEY (restaurant_id, number),
    CONSTRAINT display_order_slots_status CHECK (
        CASE status WHEN 'live' THEN cooldown_expires_at IS NULL
                    WHEN 'cooling' THEN cooldown_expires_at IS NOT NULL
                    ELSE false END
    )
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
