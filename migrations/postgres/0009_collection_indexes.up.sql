-- What the indexes of collections have: of each record and indexed property a text that sorts
-- as the values do. Comparing texts is leakproof, so that PostgreSQL looks it up in an index
-- below row-level security, which it does not for a member of a document.
CREATE TABLE record_marks (
    tenant_id uuid NOT NULL,
    plugin text NOT NULL,
    collection text NOT NULL,
    property text NOT NULL,
    mark text COLLATE "C" NOT NULL,
    record_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, plugin, collection, property, mark, record_id),
    FOREIGN KEY (tenant_id, plugin, collection, record_id)
        REFERENCES records (tenant_id, plugin, collection, id) ON DELETE CASCADE
);
CREATE INDEX record_marks_record ON record_marks (tenant_id, plugin, collection, record_id);

ALTER TABLE record_marks ENABLE ROW LEVEL SECURITY;
ALTER TABLE record_marks FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON record_marks TO purlin_app
    USING (tenant_id = purlin_tenant()) WITH CHECK (tenant_id = purlin_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON record_marks TO purlin_app;

-- The indexes that have every record, each as collection.property: those that lists use.
ALTER TABLE installations ADD COLUMN indexed jsonb NOT NULL DEFAULT '[]';
