ALTER TABLE events ALTER COLUMN position SET DEFAULT CAST(CAST(pg_current_xact_id() AS text) AS bigint);
DROP FUNCTION purlin_raise_positions(bigint);
DROP FUNCTION purlin_position_base();
