-- Which version of the IANA time zone database each daemon was built with, as `2026a`. One of an earlier version does not
-- say.
ALTER TABLE daemons ADD COLUMN time_zones text NOT NULL DEFAULT '';
