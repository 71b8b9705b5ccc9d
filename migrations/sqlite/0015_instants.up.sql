-- Properties of the format date-time compare as instants, by a collation of the host's own. Their
-- indexes were made of texts; lists read the collections until they are made again, which enabling
-- the plugin once more does.
CREATE TEMPORARY TABLE timed AS
    SELECT v.id AS version_id, v.plugin, c.value->>'name' AS collection, p.value AS property
    FROM plugin_versions v, json_each(coalesce(v.descriptor->'collections', '[]')) c,
        json_each(coalesce(c.value->'indexed', '[]')) p
    WHERE json_extract(c.value, '$.schema.properties."' || p.value || '".format') = 'date-time';
UPDATE installations SET indexed = (
    SELECT json_group_array(e.value) FROM json_each(installations.indexed) e
    WHERE NOT EXISTS (SELECT 1 FROM timed t
        WHERE t.version_id = installations.version_id AND e.value = t.collection || '.' || t.property))
WHERE version_id IN (SELECT version_id FROM timed);
DELETE FROM record_marks WHERE EXISTS (SELECT 1 FROM timed t
    WHERE t.plugin = record_marks.plugin AND t.collection = record_marks.collection AND t.property = record_marks.property);
DROP TABLE timed;
