-- What each order is called in the system that it came from. An order is the same one there if its source, its restaurant
-- and its id are the same: everything else of a row may be written in another way the next time. The row is there before
-- the order is, with the id that the order gets here, so that runs that were stopped, or go on at once, agree on it.
--
-- Texts are compared byte by byte: an id is no word, and a newer library must not sort it otherwise.
CREATE TABLE imported_orders (
    -- The system, as the operator calls it.
    source            text           COLLATE "C" NOT NULL CHECK (source <> ''),
    restaurant_id     integer        NOT NULL CHECK (restaurant_id > 0),
    -- The order's id there in one spelling; where it is very long, its digest.
    foreign_key       text           COLLATE "C" NOT NULL CHECK (octet_length(foreign_key) BETWEEN 1 AND 256),
    internal_order_id uuid           NOT NULL,
    -- The number that the guest holds in hand, as it was shown, and the number that this is. Null where the order, which
    -- had ended, shows it just so, or where there was none.
    shown_number      text,
    number            integer,
    -- When the row was made, by Redis's clock.
    imported_at       timestamptz(3) NOT NULL,
    PRIMARY KEY (source, restaurant_id, foreign_key),
    CHECK (number IS NULL OR shown_number IS NOT NULL)
);
-- Two orders never get one id; and each read of an order looks here for what it was called.
CREATE UNIQUE INDEX imported_orders_by_order ON imported_orders (internal_order_id) INCLUDE (shown_number);
CREATE INDEX imported_orders_by_number ON imported_orders (restaurant_id, number, internal_order_id)
    WHERE number IS NOT NULL;
-- Folded as the other codes are: see 0003.
CREATE INDEX imported_orders_by_shown_number
    ON imported_orders (restaurant_id, lower(shown_number COLLATE "C"), internal_order_id)
    WHERE shown_number IS NOT NULL;
