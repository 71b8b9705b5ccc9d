-- What the indexes of collections have: of each record and indexed property a text that sorts
-- as the values do.
CREATE TABLE record_marks (
    tenant_id blob NOT NULL,
    plugin text NOT NULL,
    collection text NOT NULL,
    property text NOT NULL,
    mark text NOT NULL,
    record_id blob NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, plugin, collection, property, mark, record_id),
    FOREIGN KEY (tenant_id, plugin, collection, record_id)
        REFERENCES records (tenant_id, plugin, collection, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX record_marks_record ON record_marks (tenant_id, plugin, collection, record_id);

-- The indexes that have every record, each as collection.property: those that lists use.
ALTER TABLE installations ADD COLUMN indexed text NOT NULL DEFAULT '[]';
