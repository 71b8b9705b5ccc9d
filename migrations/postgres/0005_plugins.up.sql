-- What administrators set for a plugin, and what it takes to go back.
ALTER TABLE installations
    ADD COLUMN settings jsonb NOT NULL DEFAULT '{}',
    -- The version before the present one, with what was granted to it.
    ADD COLUMN previous_version_id uuid REFERENCES plugin_versions (id),
    ADD COLUMN previous_grants jsonb,
    ADD COLUMN upgraded_at timestamptz,
    -- Why the host paused it, or went back.
    ADD COLUMN reason text,
    DROP CONSTRAINT installations_state_check,
    ADD CONSTRAINT installations_state_check CHECK (state IN ('enabled', 'paused', 'disabled'));

CREATE TABLE plugin_secrets (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL REFERENCES plugins (name),
    name text NOT NULL,
    -- Under the master key.
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by uuid,
    updated_by uuid,
    PRIMARY KEY (tenant_id, plugin, name)
);

CREATE TABLE plugin_files (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL REFERENCES plugins (name),
    key text COLLATE "C" NOT NULL,
    -- Where its content lies, anew with each write.
    id uuid NOT NULL,
    content_type text NOT NULL,
    bytes bigint NOT NULL,
    digest text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by uuid,
    updated_by uuid,
    PRIMARY KEY (tenant_id, plugin, key)
);

-- What plugins used, by the hour.
CREATE TABLE plugin_usage (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL,
    hour timestamptz NOT NULL,
    invocations bigint NOT NULL,
    failures bigint NOT NULL,
    wall_us bigint NOT NULL,
    cpu_us bigint NOT NULL,
    host_calls bigint NOT NULL,
    fetches bigint NOT NULL,
    write_bytes bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, plugin, hour)
);
CREATE INDEX plugin_usage_age ON plugin_usage (hour);

-- The latest calls of plugins, one by one.
CREATE TABLE plugin_invocations (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    plugin text NOT NULL,
    version text NOT NULL,
    -- What was called, and about what: an event type, a job kind, a route, a collection, a step.
    trigger text NOT NULL,
    subject text NOT NULL,
    outcome text NOT NULL,
    limit_met text,
    wall_us bigint NOT NULL,
    cpu_us bigint NOT NULL,
    memory_bytes bigint NOT NULL,
    host_calls bigint NOT NULL,
    effects bigint NOT NULL,
    job_id uuid,
    trace_id text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX plugin_invocations_time ON plugin_invocations (tenant_id, plugin, created_at, id);
CREATE INDEX plugin_invocations_age ON plugin_invocations (created_at);

DO $$
DECLARE tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY['plugin_secrets', 'plugin_files', 'plugin_usage', 'plugin_invocations'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY own_tenant ON %I TO purlin_app
            USING (tenant_id = purlin_tenant()) WITH CHECK (tenant_id = purlin_tenant())', tenant_table);
    END LOOP;
    FOREACH tenant_table IN ARRAY ARRAY['plugin_files', 'plugin_usage', 'plugin_invocations'] LOOP
        EXECUTE format('CREATE POLICY platform ON %I TO purlin_platform USING (true) WITH CHECK (true)', tenant_table);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON plugin_secrets, plugin_files TO purlin_app;
GRANT SELECT ON plugin_usage, plugin_invocations TO purlin_app;
GRANT DELETE ON plugin_logs TO purlin_app;
-- Content that no file names is deleted; the ledger is written for many tenants at once.
GRANT SELECT ON plugin_files TO purlin_platform;
GRANT SELECT, INSERT, UPDATE, DELETE ON plugin_usage, plugin_invocations TO purlin_platform;
