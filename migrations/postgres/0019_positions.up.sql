-- Where an event stands is its transaction, and what is added to that here: a database that is
-- restored into another cluster begins to count transactions anew, and goes on beyond what was.
CREATE FUNCTION purlin_position_base() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT CAST(0 AS bigint)';
ALTER TABLE events ALTER COLUMN position
    SET DEFAULT purlin_position_base() + CAST(CAST(pg_current_xact_id() AS text) AS bigint);

-- Has positions go on beyond this one, if they are not there yet; whether it had to. Far beyond: the
-- stream of Redis may know places that a restored database has lost.
CREATE FUNCTION purlin_raise_positions(last bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('purlin positions', 0));
    IF last < purlin_position_base() + CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION purlin_position_base() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
        AS ''SELECT CAST(%s AS bigint)''', last + 1099511627776);
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION purlin_raise_positions(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION purlin_raise_positions(bigint) TO purlin_platform;

-- What runs with the rights of the owner takes nothing from the schema of temporary tables before ours.
DO $$
DECLARE
    definer regprocedure;
BEGIN
    FOR definer IN
        SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.prosecdef
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    END LOOP;
END
$$;
