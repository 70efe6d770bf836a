-- What all daemons of this deployment must agree on beside `deployment.partitions`: a row a setting, by its key, as the
-- first daemon that started had it. Each daemon compares its own at start. `nowserving migrate --adopt-settings` changes
-- them while none runs.
CREATE TABLE agreed_settings (
    key        text        PRIMARY KEY,
    -- As text, without quotes.
    value      text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
