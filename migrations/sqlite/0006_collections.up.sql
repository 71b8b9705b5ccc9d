-- Records that cannot be deleted while others of the same plugin refer to them. Whether they
-- are there is asked when a transaction ends: what refers to each other can go together.
CREATE TABLE record_references (
    tenant_id blob NOT NULL,
    plugin text NOT NULL,
    collection text NOT NULL,
    record_id blob NOT NULL,
    property text NOT NULL,
    to_collection text NOT NULL,
    to_id blob NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, plugin, collection, record_id, property),
    FOREIGN KEY (tenant_id, plugin, collection, record_id)
        REFERENCES records (tenant_id, plugin, collection, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, plugin, to_collection, to_id)
        REFERENCES records (tenant_id, plugin, collection, id) DEFERRABLE INITIALLY DEFERRED
) STRICT;
CREATE INDEX record_references_to ON record_references (tenant_id, plugin, to_collection, to_id);
