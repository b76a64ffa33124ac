-- Schema 2: the trace that an instance belongs to.
--
-- Code of the schema before serves these tables, and leaves the trace out. It is behind the input, which whoever reads it reads as
-- well.

-- A text that nobody reads but the engine.
ALTER TABLE saga_instance ADD COLUMN trace TEXT;

ALTER TABLE saga_archive ADD COLUMN trace TEXT;
