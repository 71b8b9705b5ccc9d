-- The platform's tables, as PostgreSQL keeps them: row-level security forced on
-- every tenant table, the audit log and the events partitioned by month.

-- Two roles that own nothing. The host serves tenants as purlin_app, which sees one
-- tenant at a time; what crosses tenants (sign-in look-ups, claiming jobs, the
-- catalogue of plugins) runs as purlin_platform, which is granted just that.
DO $$
DECLARE app_role text;
BEGIN
    FOREACH app_role IN ARRAY ARRAY['purlin_app', 'purlin_platform'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', app_role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- roles belong to the whole cluster; another database made it
        END;
        IF NOT pg_has_role(current_user, app_role, 'USAGE') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', app_role);
        END IF;
    END LOOP;
END $$;

-- The tenant of this connection; null, which matches nothing, when none is set.
CREATE FUNCTION purlin_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('purlin.tenant_id', true), '')::uuid $$;

CREATE TABLE tenants (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    slug text NOT NULL UNIQUE,
    domain text UNIQUE,
    status text NOT NULL CHECK (status IN ('active', 'suspended')),
    plan text NOT NULL,
    settings jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE users (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    first_name text,
    last_name text,
    is_active boolean NOT NULL,
    is_verified boolean NOT NULL,
    is_operator boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by uuid,
    updated_by uuid,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
);
CREATE INDEX users_email ON users (email);

CREATE TABLE permissions (
    id uuid PRIMARY KEY,
    resource text NOT NULL,
    action text NOT NULL,
    description text NOT NULL,
    plugin text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (resource, action)
);

CREATE TABLE roles (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    is_system boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by uuid,
    updated_by uuid,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE role_permissions (
    tenant_id uuid NOT NULL,
    role_id uuid NOT NULL,
    permission_id uuid NOT NULL REFERENCES permissions (id),
    created_at timestamptz NOT NULL,
    created_by uuid,
    PRIMARY KEY (tenant_id, role_id, permission_id),
    FOREIGN KEY (tenant_id, role_id) REFERENCES roles (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE user_roles (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid,
    PRIMARY KEY (tenant_id, user_id, role_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, role_id) REFERENCES roles (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE audit_log (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    actor_kind text NOT NULL,
    actor text NOT NULL,
    on_behalf_of uuid,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text,
    changes jsonb NOT NULL,
    ip text,
    user_agent text,
    request_id text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX audit_log_time ON audit_log (tenant_id, created_at, id);

CREATE TABLE events (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    subject text,
    data jsonb NOT NULL,
    actor uuid,
    caused_by uuid,
    root_id uuid NOT NULL,
    depth bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX events_time ON events (tenant_id, created_at, id);

CREATE TABLE plugins (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    title text NOT NULL,
    description text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE plugin_components (
    digest text PRIMARY KEY,
    component bytea NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE plugin_versions (
    id uuid PRIMARY KEY,
    plugin text NOT NULL REFERENCES plugins (name),
    version text NOT NULL,
    digest text NOT NULL REFERENCES plugin_components (digest),
    descriptor jsonb NOT NULL,
    report jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by uuid,
    UNIQUE (plugin, version)
);

CREATE TABLE installations (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    plugin text NOT NULL REFERENCES plugins (name),
    version_id uuid NOT NULL REFERENCES plugin_versions (id),
    state text NOT NULL CHECK (state IN ('enabled', 'disabled')),
    grants jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by uuid,
    updated_by uuid,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, plugin)
);

CREATE TABLE jobs (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    kind text NOT NULL,
    plugin text NOT NULL,
    payload jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('ready', 'running', 'succeeded', 'dead', 'cancelled')),
    run_at timestamptz NOT NULL,
    attempt bigint NOT NULL,
    attempts_max bigint NOT NULL,
    crashes bigint NOT NULL,
    run_lease bigint NOT NULL,
    leased_until timestamptz,
    worker uuid,
    last_error text,
    result jsonb,
    progress bigint,
    progress_message text,
    event_id uuid,
    unique_key text,
    caused_by uuid,
    root_id uuid NOT NULL,
    depth bigint NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by uuid,
    updated_by uuid,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX jobs_ready ON jobs (run_at, id) WHERE state = 'ready';
CREATE INDEX jobs_running ON jobs (leased_until) WHERE state = 'running';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_root ON jobs (tenant_id, root_id);
CREATE INDEX jobs_time ON jobs (tenant_id, created_at, id);
CREATE UNIQUE INDEX jobs_unique_key ON jobs (tenant_id, kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('ready', 'running');

CREATE TABLE records (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    plugin text NOT NULL,
    collection text NOT NULL,
    id uuid NOT NULL,
    version bigint NOT NULL,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    created_by uuid,
    updated_by uuid,
    PRIMARY KEY (tenant_id, plugin, collection, id)
);
CREATE INDEX records_time ON records (tenant_id, plugin, collection, created_at, id);

-- One row for each unique key of a record, so that a key is unique without an index
-- made at run time. The value is a digest.
CREATE TABLE record_keys (
    tenant_id uuid NOT NULL,
    plugin text NOT NULL,
    collection text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    record_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, plugin, collection, key, value),
    FOREIGN KEY (tenant_id, plugin, collection, record_id)
        REFERENCES records (tenant_id, plugin, collection, id) ON DELETE CASCADE
);
CREATE INDEX record_keys_record ON record_keys (tenant_id, plugin, collection, record_id);

CREATE TABLE plugin_logs (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    plugin text NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    fields jsonb NOT NULL,
    job_id uuid,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX plugin_logs_time ON plugin_logs (tenant_id, plugin, created_at, id);
CREATE INDEX plugin_logs_age ON plugin_logs (created_at);

-- Monthly partitions, made ahead by the host. A partition is reached through its
-- parent, whose policies then hold; by itself it is closed to every role but its owner.
CREATE FUNCTION purlin_create_partitions(from_month date, months int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    parent text;
    first_day date;
    partition_name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('purlin_create_partitions'));
    FOREACH parent IN ARRAY ARRAY['audit_log', 'events'] LOOP
        FOR i IN 0 .. months LOOP
            first_day := (date_trunc('month', from_month) + make_interval(months => i))::date;
            partition_name := parent || '_' || to_char(first_day, 'YYYY_MM');
            IF to_regclass(partition_name) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    partition_name, parent,
                    first_day::timestamp AT TIME ZONE 'UTC',
                    (first_day + interval '1 month') AT TIME ZONE 'UTC');
                EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', partition_name);
                EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', partition_name);
            END IF;
        END LOOP;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION purlin_create_partitions(date, int) FROM PUBLIC;
SELECT purlin_create_partitions(current_date, 3);

-- Row-level security: forced, so that it binds the owner too.
DO $$
DECLARE tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY[
        'users', 'roles', 'role_permissions', 'user_roles', 'audit_log', 'events',
        'installations', 'jobs', 'records', 'record_keys', 'plugin_logs'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY own_tenant ON %I TO purlin_app
            USING (tenant_id = purlin_tenant()) WITH CHECK (tenant_id = purlin_tenant())', tenant_table);
    END LOOP;
END $$;
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON tenants TO purlin_app USING (id = purlin_tenant()) WITH CHECK (id = purlin_tenant());

GRANT SELECT, INSERT, UPDATE ON tenants TO purlin_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON users, roles, role_permissions, user_roles, installations, jobs, records, record_keys
    TO purlin_app;
GRANT SELECT, INSERT ON audit_log, events, plugin_logs TO purlin_app;
GRANT SELECT ON permissions, plugins, plugin_versions, plugin_components TO purlin_app;

-- What crosses tenants, table by table.
CREATE POLICY platform ON tenants TO purlin_platform USING (true) WITH CHECK (true);
CREATE POLICY platform ON users FOR SELECT TO purlin_platform USING (true);
CREATE POLICY platform ON installations FOR SELECT TO purlin_platform USING (true);
CREATE POLICY platform ON jobs TO purlin_platform USING (true) WITH CHECK (true);
CREATE POLICY platform ON plugin_logs TO purlin_platform USING (true) WITH CHECK (true);
CREATE POLICY platform ON audit_log FOR INSERT TO purlin_platform WITH CHECK (true);
GRANT INSERT ON audit_log TO purlin_platform;
GRANT SELECT ON tenants, users, installations TO purlin_platform;
GRANT SELECT, UPDATE, DELETE ON jobs TO purlin_platform;
GRANT SELECT, DELETE ON plugin_logs TO purlin_platform;
GRANT SELECT, INSERT, UPDATE ON permissions, plugins, plugin_versions, plugin_components TO purlin_platform;
GRANT EXECUTE ON FUNCTION purlin_create_partitions(date, int) TO purlin_platform;
