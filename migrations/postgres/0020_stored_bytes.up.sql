-- What tenants stored that stays for a time, whatever becomes of what it tells of: bytes of each kind on
-- each day, for the ceilings of their plans.
CREATE TABLE stored_bytes (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    kind text NOT NULL,
    day timestamptz NOT NULL,
    bytes bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, kind, day)
);

ALTER TABLE stored_bytes ENABLE ROW LEVEL SECURITY;
ALTER TABLE stored_bytes FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON stored_bytes TO purlin_app
    USING (tenant_id = purlin_tenant()) WITH CHECK (tenant_id = purlin_tenant());
CREATE POLICY platform ON stored_bytes TO purlin_platform USING (true) WITH CHECK (true);
GRANT SELECT ON stored_bytes TO purlin_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON stored_bytes TO purlin_platform;
