-- How each daemon's background tasks do: it says so where it says that it runs. One of an earlier version does not.
ALTER TABLE daemons ADD COLUMN tasks jsonb NOT NULL DEFAULT '[]';
