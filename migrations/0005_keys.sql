-- API keys: who may call what.

-- Counts the changes of keys. Whoever changes one holds the lock of this row until the commit, so revisions become
-- visible in their order, and a daemon that has read up to one has missed none. (Numbers of a sequence may become
-- visible out of order.)
CREATE TABLE api_key_revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint  NOT NULL DEFAULT 0 CHECK (revision >= 0)
);
INSERT INTO api_key_revision DEFAULT VALUES;

CREATE TABLE api_keys (
    id              bigint         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- SHA-256 of the key's text, which is kept nowhere.
    digest          bytea          NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    name            text           NOT NULL,
    role            text           NOT NULL CHECK (role IN ('admin', 'till', 'screen', 'metrics')),
    -- The restaurants that it is good for; null for all.
    restaurants     integer[]      CHECK (cardinality(restaurants) > 0),
    expires_at      timestamptz(3),
    -- How many requests each daemon takes from it in a second; null for any number.
    rate_per_second integer        CHECK (rate_per_second > 0),
    created_at      timestamptz(3) NOT NULL DEFAULT now(),
    created_by      text           NOT NULL,
    revoked_at      timestamptz(3),
    revoked_by      text,
    -- The revision at which it changed last.
    revision        bigint         NOT NULL UNIQUE,
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);

-- A trigger, so that daemons notice as well what somebody changes by hand.
CREATE FUNCTION count_api_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE api_key_revision SET revision = revision + 1 RETURNING revision INTO NEW.revision;
    RETURN NEW;
END
$$;
CREATE TRIGGER count_api_key_change BEFORE INSERT OR UPDATE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION count_api_key_change();

-- Nobody would notice that a key is gone; and who made it, and who revoked it, is part of the audit trail.
CREATE FUNCTION keep_api_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'API keys are revoked, not deleted' USING HINT = 'nowserving keys revoke ID';
END
$$;
CREATE TRIGGER keep_api_keys BEFORE DELETE OR TRUNCATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION keep_api_keys();
