-- The keys that plugins lock for rules over a set of records: a commit insists on the version that
-- it saw, and gives the key another one.
CREATE TABLE record_locks (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL,
    key text NOT NULL,
    version blob NOT NULL,
    locked_at text NOT NULL,
    PRIMARY KEY (tenant_id, plugin, key)
) STRICT;
CREATE INDEX record_locks_age ON record_locks (locked_at);
