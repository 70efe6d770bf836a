-- What is rare in a restaurant's log is found by an index of its own: new settings, rests that were ended, imports, what
-- was put right after a loss, and what this service did on its own account. Most events are none of these; to find that
-- out costs them nothing that could be measured. An index by actor cost each event 2.4 µs of Postgres more, to 5.4.
-- The condition is spelled the same in src/ledger/audit.rs, or the index is not used.
CREATE INDEX order_events_by_rarity ON order_events (restaurant_id, occurred_at)
    WHERE kind NOT IN ('created', 'changed', 'released') OR actor IN ('cleanup', 'recovery', 'backfill');
