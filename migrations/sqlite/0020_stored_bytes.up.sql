-- What tenants stored that stays for a time, whatever becomes of what it tells of: bytes of each kind on
-- each day, for the ceilings of their plans.
CREATE TABLE stored_bytes (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    kind text NOT NULL,
    day text NOT NULL,
    bytes integer NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    PRIMARY KEY (tenant_id, kind, day)
) STRICT;
