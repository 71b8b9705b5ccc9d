-- Records that cannot be deleted while others of the same plugin refer to them. Whether they
-- are there is asked when a transaction ends: what refers to each other can go together.
CREATE TABLE record_references (
    tenant_id uuid NOT NULL,
    plugin text NOT NULL,
    collection text NOT NULL,
    record_id uuid NOT NULL,
    property text NOT NULL,
    to_collection text NOT NULL,
    to_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, plugin, collection, record_id, property),
    FOREIGN KEY (tenant_id, plugin, collection, record_id)
        REFERENCES records (tenant_id, plugin, collection, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, plugin, to_collection, to_id)
        REFERENCES records (tenant_id, plugin, collection, id) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX record_references_to ON record_references (tenant_id, plugin, to_collection, to_id);

ALTER TABLE record_references ENABLE ROW LEVEL SECURITY;
ALTER TABLE record_references FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON record_references TO purlin_app
    USING (tenant_id = purlin_tenant()) WITH CHECK (tenant_id = purlin_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON record_references TO purlin_app;
