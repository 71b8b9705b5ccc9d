-- What administrators set for a plugin, and what it takes to go back.
CREATE TABLE new_installations (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    plugin text NOT NULL REFERENCES plugins (name),
    version_id blob NOT NULL REFERENCES plugin_versions (id),
    state text NOT NULL CHECK (state IN ('enabled', 'paused', 'disabled')),
    grants text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    settings text NOT NULL DEFAULT '{}',
    -- The version before the present one, with what was granted to it.
    previous_version_id blob REFERENCES plugin_versions (id),
    previous_grants text,
    upgraded_at text,
    -- Why the host paused it, or went back.
    reason text,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, plugin)
) STRICT;
INSERT INTO new_installations (tenant_id, id, plugin, version_id, state, grants, created_at, updated_at, created_by, updated_by)
    SELECT tenant_id, id, plugin, version_id, state, grants, created_at, updated_at, created_by, updated_by FROM installations;
DROP TABLE installations;
ALTER TABLE new_installations RENAME TO installations;

CREATE TABLE plugin_secrets (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL REFERENCES plugins (name),
    name text NOT NULL,
    -- Under the master key.
    sealed blob NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    PRIMARY KEY (tenant_id, plugin, name)
) STRICT;

CREATE TABLE plugin_files (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL REFERENCES plugins (name),
    key text NOT NULL,
    -- Where its content lies, anew with each write.
    id blob NOT NULL,
    content_type text NOT NULL,
    bytes integer NOT NULL,
    digest text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    PRIMARY KEY (tenant_id, plugin, key)
) STRICT;

-- What plugins used, by the hour.
CREATE TABLE plugin_usage (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL,
    hour text NOT NULL,
    invocations integer NOT NULL,
    failures integer NOT NULL,
    wall_us integer NOT NULL,
    cpu_us integer NOT NULL,
    host_calls integer NOT NULL,
    fetches integer NOT NULL,
    write_bytes integer NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    PRIMARY KEY (tenant_id, plugin, hour)
) STRICT;
CREATE INDEX plugin_usage_age ON plugin_usage (hour);

-- The latest calls of plugins, one by one.
CREATE TABLE plugin_invocations (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    plugin text NOT NULL,
    version text NOT NULL,
    -- What was called, and about what: an event type, a job kind, a route, a collection, a step.
    trigger text NOT NULL,
    subject text NOT NULL,
    outcome text NOT NULL,
    limit_met text,
    wall_us integer NOT NULL,
    cpu_us integer NOT NULL,
    memory_bytes integer NOT NULL,
    host_calls integer NOT NULL,
    effects integer NOT NULL,
    job_id blob,
    trace_id text,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX plugin_invocations_time ON plugin_invocations (tenant_id, plugin, created_at, id);
CREATE INDEX plugin_invocations_age ON plugin_invocations (created_at);
