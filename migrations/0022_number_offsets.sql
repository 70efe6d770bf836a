-- What the formats of a restaurant's orders take off a number: 500 of D{n-500:02}, which shows 501 as D01. Whoever looks
-- for what was shown adds them to the figure. Formats had no offset before, so there is nothing to fill in.
CREATE TABLE number_offsets (
    restaurant_id integer NOT NULL,
    number_offset integer NOT NULL CHECK (number_offset BETWEEN 1 AND 999999),
    PRIMARY KEY (restaurant_id, number_offset)
);
