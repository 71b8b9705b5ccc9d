-- The platform's tables, as SQLite keeps them: UUIDs as 16-byte blobs, times as
-- RFC 3339 text, JSON as text.

CREATE TABLE tenants (
    id blob PRIMARY KEY,
    name text NOT NULL,
    slug text NOT NULL UNIQUE,
    domain text UNIQUE,
    status text NOT NULL CHECK (status IN ('active', 'suspended')),
    plan text NOT NULL,
    settings text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL
) STRICT;

CREATE TABLE users (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    first_name text,
    last_name text,
    is_active integer NOT NULL,
    is_verified integer NOT NULL,
    is_operator integer NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
) STRICT;
CREATE INDEX users_email ON users (email);

CREATE TABLE permissions (
    id blob PRIMARY KEY,
    resource text NOT NULL,
    action text NOT NULL,
    description text NOT NULL,
    plugin text,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    UNIQUE (resource, action)
) STRICT;

CREATE TABLE roles (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    is_system integer NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
) STRICT;

CREATE TABLE role_permissions (
    tenant_id blob NOT NULL,
    role_id blob NOT NULL,
    permission_id blob NOT NULL REFERENCES permissions (id),
    created_at text NOT NULL,
    created_by blob,
    PRIMARY KEY (tenant_id, role_id, permission_id),
    FOREIGN KEY (tenant_id, role_id) REFERENCES roles (tenant_id, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE user_roles (
    tenant_id blob NOT NULL,
    user_id blob NOT NULL,
    role_id blob NOT NULL,
    created_at text NOT NULL,
    created_by blob,
    PRIMARY KEY (tenant_id, user_id, role_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, role_id) REFERENCES roles (tenant_id, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE audit_log (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    actor_kind text NOT NULL,
    actor text NOT NULL,
    on_behalf_of blob,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text,
    changes text NOT NULL,
    ip text,
    user_agent text,
    request_id text NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX audit_log_time ON audit_log (tenant_id, created_at, id);

CREATE TABLE events (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    subject text,
    data text NOT NULL,
    actor blob,
    caused_by blob,
    root_id blob NOT NULL,
    depth integer NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX events_time ON events (tenant_id, created_at, id);

CREATE TABLE plugins (
    id blob PRIMARY KEY,
    name text NOT NULL UNIQUE,
    title text NOT NULL,
    description text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL
) STRICT;

CREATE TABLE plugin_components (
    digest text PRIMARY KEY,
    component blob NOT NULL,
    created_at text NOT NULL
) STRICT;

CREATE TABLE plugin_versions (
    id blob PRIMARY KEY,
    plugin text NOT NULL REFERENCES plugins (name),
    version text NOT NULL,
    digest text NOT NULL REFERENCES plugin_components (digest),
    descriptor text NOT NULL,
    report text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    UNIQUE (plugin, version)
) STRICT;

CREATE TABLE installations (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    plugin text NOT NULL REFERENCES plugins (name),
    version_id blob NOT NULL REFERENCES plugin_versions (id),
    state text NOT NULL CHECK (state IN ('enabled', 'disabled')),
    grants text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, plugin)
) STRICT;

CREATE TABLE jobs (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    kind text NOT NULL,
    plugin text NOT NULL,
    payload text NOT NULL,
    state text NOT NULL CHECK (state IN ('ready', 'running', 'succeeded', 'dead', 'cancelled')),
    run_at text NOT NULL,
    attempt integer NOT NULL,
    attempts_max integer NOT NULL,
    crashes integer NOT NULL,
    run_lease integer NOT NULL,
    leased_until text,
    worker blob,
    last_error text,
    result text,
    progress integer,
    progress_message text,
    event_id blob,
    unique_key text,
    caused_by blob,
    root_id blob NOT NULL,
    depth integer NOT NULL,
    started_at text,
    finished_at text,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX jobs_ready ON jobs (run_at, id) WHERE state = 'ready';
CREATE INDEX jobs_running ON jobs (leased_until) WHERE state = 'running';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_root ON jobs (tenant_id, root_id);
CREATE INDEX jobs_time ON jobs (tenant_id, created_at, id);
CREATE UNIQUE INDEX jobs_unique_key ON jobs (tenant_id, kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('ready', 'running');

CREATE TABLE records (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL,
    collection text NOT NULL,
    id blob NOT NULL,
    version integer NOT NULL,
    data text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    PRIMARY KEY (tenant_id, plugin, collection, id)
) STRICT;
CREATE INDEX records_time ON records (tenant_id, plugin, collection, created_at, id);

-- One row for each unique key of a record, so that a key is unique without an index
-- made at run time. The value is a digest.
CREATE TABLE record_keys (
    tenant_id blob NOT NULL,
    plugin text NOT NULL,
    collection text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    record_id blob NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, plugin, collection, key, value),
    FOREIGN KEY (tenant_id, plugin, collection, record_id)
        REFERENCES records (tenant_id, plugin, collection, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX record_keys_record ON record_keys (tenant_id, plugin, collection, record_id);

CREATE TABLE plugin_logs (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    plugin text NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    fields text NOT NULL,
    job_id blob,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX plugin_logs_time ON plugin_logs (tenant_id, plugin, created_at, id);
CREATE INDEX plugin_logs_age ON plugin_logs (created_at);
