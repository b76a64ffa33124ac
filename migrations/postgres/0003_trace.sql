-- Schema 3: the trace that an instance belongs to.
--
-- Code of the schemas before serves these tables, and leaves the trace out. Nothing is rewritten; but each change waits until nobody
-- reads or writes its table, and whoever comes later waits behind it, so not for long.
SET LOCAL lock_timeout = '10s';

-- A text that nobody reads but the engine.
ALTER TABLE sagaz.saga_instance ADD COLUMN trace text;

ALTER TABLE sagaz.saga_archive ADD COLUMN trace text;
