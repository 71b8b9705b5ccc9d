-- The keys that plugins lock for rules over a set of records: a commit insists on the version that
-- it saw, and gives the key another one.
CREATE TABLE record_locks (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL,
    key text NOT NULL,
    version uuid NOT NULL,
    locked_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, plugin, key)
);
CREATE INDEX record_locks_age ON record_locks (locked_at);

ALTER TABLE record_locks ENABLE ROW LEVEL SECURITY;
ALTER TABLE record_locks FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON record_locks TO purlin_app
    USING (tenant_id = purlin_tenant()) WITH CHECK (tenant_id = purlin_tenant());
CREATE POLICY platform ON record_locks TO purlin_platform USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON record_locks TO purlin_app;
GRANT SELECT (locked_at), DELETE ON record_locks TO purlin_platform;
