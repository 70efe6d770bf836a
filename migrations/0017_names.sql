-- Names and numbers as people write them.
--
-- `orders.customer_name_folded` is written by a fold that knows more than upper and lower case from now on. The column and
-- its index stay; a background task goes through the months that are there, and folds anew what differs. Until it has been
-- everywhere, a search asks for the name in both ways.

-- The months whose names are folded, and by which fold; a month that is not here has to be looked through.
CREATE TABLE folded_months (
    first_day    date     PRIMARY KEY,
    fold         smallint NOT NULL CHECK (fold > 0),
    -- The last order that was looked at; null once all were.
    folded_up_to uuid
);

-- How each daemon folds what it writes; 0 in those of earlier versions, which do not say so.
ALTER TABLE daemons ADD COLUMN name_fold smallint NOT NULL DEFAULT 0 CHECK (name_fold >= 0);

-- What a daemon of an earlier fold writes has to be folded anew, in whatever month it is. So once one has begun to run,
-- nothing counts as folded by a later one; the task waits until it is gone, and goes through all months again.
CREATE FUNCTION forget_folded_months() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM folded_months WHERE fold > NEW.name_fold;
    RETURN NULL;
END
$$;
CREATE TRIGGER daemons_of_an_earlier_fold AFTER INSERT ON daemons
    FOR EACH ROW EXECUTE FUNCTION forget_folded_months();

-- What other systems called imported orders, without what people leave out when they write a number: `1042` for `#1,042`.
-- A table of its own: most orders have none, and no index of `orders` has to be built.
CREATE TABLE legacy_numbers (
    restaurant_id     integer NOT NULL,
    number_key        text    COLLATE "C" NOT NULL,
    internal_order_id uuid    NOT NULL,
    PRIMARY KEY (restaurant_id, number_key, internal_order_id)
);
-- They go with their orders.
CREATE INDEX legacy_numbers_by_order ON legacy_numbers (internal_order_id);
