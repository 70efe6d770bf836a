-- Kitchens, and screens that were paired: what they report, and when they showed which restaurant.

ALTER TABLE api_keys DROP CONSTRAINT api_keys_role_check;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_role_check
    CHECK (role IN ('admin', 'till', 'kitchen', 'screen', 'metrics'));

-- Whether a key of role `screen` sees the names of customers.
ALTER TABLE api_keys ADD COLUMN shows_names boolean NOT NULL DEFAULT false;
-- Those that were made before saw them, and go on.
UPDATE api_keys SET shows_names = true WHERE role = 'screen' AND revoked_at IS NULL;

-- Screens that wait for an admin to enter their code. The screen has the text of a key already; it becomes one when the code
-- is entered. Rows are kept for a while after that, or after their time, so that what is said of the code is true.
CREATE TABLE pairings (
    -- SHA-256 of the key's text, which only the screen has.
    digest        bytea          PRIMARY KEY CHECK (octet_length(digest) = 32),
    code          text           NOT NULL UNIQUE CHECK (code ~ '^[0-9A-Z]{6}$'),
    page          text           NOT NULL CHECK (page IN ('board', 'kitchen', 'other')),
    restaurant_id integer        NOT NULL CHECK (restaurant_id > 0),
    -- Whom it counts for: an address, or a network of IPv6; null where none is known.
    client        text,
    expires_at    timestamptz(3) NOT NULL,
    -- The key that it became; null while it waits.
    key_id        bigint         UNIQUE REFERENCES api_keys
);

-- Screens that were paired: each is a key of role `screen` or `kitchen`. The rest is what it said last; null before that.
-- Every screen says it twice a minute, so nothing of that is in an index, and pages have room for the next row.
CREATE TABLE screens (
    key_id        bigint         PRIMARY KEY REFERENCES api_keys,
    restaurant_id integer        NOT NULL CHECK (restaurant_id > 0),
    last_seen_at  timestamptz(3),
    page          text           CHECK (page IN ('board', 'kitchen', 'other')),
    station       text           CHECK (char_length(station) <= 40),
    sound         boolean,
    stale         boolean,
    position      text,
    CHECK (num_nulls(last_seen_at, page, sound, stale) IN (0, 4)),
    CHECK (last_seen_at IS NOT NULL OR num_nonnulls(station, position) = 0)
) WITH (fillfactor = 50);
CREATE INDEX screens_by_restaurant ON screens (restaurant_id);

-- Which screen showed which restaurant when. A stream that is open for longer than six hours goes on in the next row, so
-- that what was open at an instant began at most so long before.
CREATE TABLE screen_sessions (
    id            uuid           PRIMARY KEY,
    key_id        bigint         NOT NULL REFERENCES api_keys,
    restaurant_id integer        NOT NULL CHECK (restaurant_id > 0),
    -- What it showed; null where it did not say.
    page          text           CHECK (page IN ('board', 'kitchen', 'other')),
    -- The daemon that it was connected to.
    daemon        uuid           NOT NULL,
    begun_at      timestamptz(3) NOT NULL,
    -- When its daemon said last that it was connected.
    last_seen_at  timestamptz(3) NOT NULL,
    -- Null while it is connected; or for ever, where its daemon died.
    ended_at      timestamptz(3),
    CHECK (begun_at <= last_seen_at),
    CHECK (ended_at IS NULL OR ended_at = last_seen_at)
) WITH (fillfactor = 70);
CREATE INDEX screen_sessions_by_restaurant ON screen_sessions (restaurant_id, begun_at, id);
-- To let go of the oldest.
CREATE INDEX screen_sessions_by_begin ON screen_sessions USING brin (begun_at);
