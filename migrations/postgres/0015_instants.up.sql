-- The instant that an RFC 3339 text tells of, in microseconds since 1970; null for any other text.
-- It never fails, so that a record of an older version of a plugin cannot stop a list.
CREATE FUNCTION purlin_instant(told text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN told ~* '^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[t ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(z|[+-]([01]\d|2[0-3]):[0-5]\d)$'
    THEN
        ((make_date(left(told, 4)::int, substr(told, 6, 2)::int, 1) - date '1970-01-01' + substr(told, 9, 2)::int - 1)::bigint * 86400
            + substr(told, 12, 2)::int * 3600 + substr(told, 15, 2)::int * 60 + substr(told, 18, 2)::int
            - CASE WHEN right(told, 1) IN ('z', 'Z') THEN 0
                ELSE (left(right(told, 6), 1) || '1')::int * (substr(right(told, 6), 2, 2)::int * 3600 + right(told, 2)::int * 60) END) * 1000000
        + rpad(coalesce(substring(told from '\.(\d{1,6})'), ''), 6, '0')::int
    END
$$;

-- The indexes of such properties were made of texts. Lists read the collections until they are made
-- again, which enabling the plugin once more does.
ALTER TABLE installations NO FORCE ROW LEVEL SECURITY;
ALTER TABLE record_marks NO FORCE ROW LEVEL SECURITY;
CREATE TEMPORARY TABLE timed ON COMMIT DROP AS
    SELECT v.id AS version_id, v.plugin, c->>'name' AS collection, p.name AS property
    FROM plugin_versions v, jsonb_array_elements(coalesce(v.descriptor->'collections', '[]')) c,
        jsonb_array_elements_text(coalesce(c->'indexed', '[]')) p (name)
    WHERE c->'schema'->'properties'->p.name->>'format' = 'date-time';
UPDATE installations i SET indexed = (
    SELECT coalesce(jsonb_agg(e.name), '[]') FROM jsonb_array_elements_text(i.indexed) e (name)
    WHERE NOT EXISTS (SELECT 1 FROM timed t WHERE t.version_id = i.version_id AND e.name = t.collection || '.' || t.property))
WHERE i.version_id IN (SELECT version_id FROM timed);
DELETE FROM record_marks m USING timed t
WHERE m.plugin = t.plugin AND m.collection = t.collection AND m.property = t.property;
ALTER TABLE installations FORCE ROW LEVEL SECURITY;
ALTER TABLE record_marks FORCE ROW LEVEL SECURITY;
