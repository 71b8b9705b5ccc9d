-- Sessions, API keys, second factors, invitations, one-time tokens, idempotency keys,
-- signing keys, and the chain over the audit log.

ALTER TABLE tenants ADD COLUMN provisioned_at timestamptz;
UPDATE tenants SET provisioned_at = created_at;

ALTER TABLE users DROP CONSTRAINT users_tenant_id_email_key;
ALTER TABLE users
    ADD COLUMN last_login_at timestamptz,
    ADD COLUMN deleted_at timestamptz,
    ADD COLUMN erased_at timestamptz;
-- The address of a deleted user is free again.
CREATE UNIQUE INDEX users_address ON users (tenant_id, email) WHERE deleted_at IS NULL;
CREATE INDEX users_time ON users (tenant_id, created_at, id);

-- One sign-in: the family of its refresh tokens. The newest one has this generation.
CREATE TABLE sessions (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    generation bigint NOT NULL,
    rotated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    ip text,
    user_agent text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX sessions_user ON sessions (tenant_id, user_id);
CREATE INDEX sessions_age ON sessions (expires_at);

CREATE TABLE api_keys (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    name text NOT NULL,
    hint text NOT NULL,
    key_hash text NOT NULL,
    scopes jsonb NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX api_keys_time ON api_keys (tenant_id, created_at, id);
CREATE INDEX api_keys_user ON api_keys (tenant_id, user_id);

-- What a mail carries: proof of an address, leave to set a new password.
CREATE TABLE one_time_tokens (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('verify_email', 'reset_password')),
    secret_hash text NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX one_time_tokens_user ON one_time_tokens (tenant_id, user_id);
CREATE INDEX one_time_tokens_age ON one_time_tokens (expires_at);

-- A second factor: TOTP. The secret is sealed under the master key.
CREATE TABLE second_factors (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    secret bytea NOT NULL,
    confirmed_at timestamptz,
    last_step bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE recovery_codes (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    code_hash text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, code_hash),
    FOREIGN KEY (tenant_id, user_id) REFERENCES second_factors (tenant_id, user_id) ON DELETE CASCADE
);

CREATE TABLE invitations (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    email text NOT NULL,
    role_ids jsonb NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'accepted', 'revoked')),
    secret_hash text NOT NULL,
    invited_by uuid,
    sent_count bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX invitations_address ON invitations (tenant_id, email) WHERE status = 'pending';
CREATE INDEX invitations_time ON invitations (tenant_id, created_at, id);

-- Answers to writes that named a key, sealed under the master key.
CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    actor text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    response bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, actor, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- The keys that sign access tokens. The private half is sealed, and gone once retired;
-- the public half stays, since checkpoints of the audit log were signed with it.
CREATE TABLE signing_keys (
    id text PRIMARY KEY,
    public_key jsonb NOT NULL,
    private_key bytea,
    mac text NOT NULL,
    signs_from timestamptz NOT NULL,
    retired_at timestamptz,
    created_at timestamptz NOT NULL
);

-- The audit log as a hash chain of each tenant. A row carries its own MAC from the
-- beginning; its place in the chain is given shortly after its transaction.
ALTER TABLE audit_log
    ADD COLUMN mac text,
    ADD COLUMN seq bigint,
    ADD COLUMN hash text;
CREATE INDEX audit_log_unchained ON audit_log (tenant_id, created_at, id) WHERE seq IS NULL;
CREATE INDEX audit_log_seq ON audit_log (tenant_id, seq);

-- Who writes a row does not choose its place.
REVOKE INSERT ON audit_log FROM purlin_app;
GRANT INSERT (tenant_id, id, actor_kind, actor, on_behalf_of, action, resource_type, resource_id, changes, ip, user_agent,
    request_id, created_at, mac) ON audit_log TO purlin_app;

CREATE TABLE audit_heads (
    tenant_id uuid PRIMARY KEY REFERENCES tenants (id),
    seq bigint NOT NULL,
    hash text NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Signed: what the chain was at a time. A cut is where retention ended: what came before
-- was deleted on purpose.
CREATE TABLE audit_checkpoints (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    seq bigint NOT NULL,
    hash text NOT NULL,
    is_cut boolean NOT NULL,
    token text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, seq, is_cut)
);

-- A month of the audit log that nobody has to keep any more is dropped whole.
CREATE FUNCTION purlin_drop_audit_partitions(kept_from date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    part regclass;
    last_day date;
    is_held boolean;
    dropped int := 0;
BEGIN
    FOR part IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'audit_log'::regclass LOOP
        last_day := (to_date(right(part::text, 7), 'YYYY_MM') + interval '1 month')::date;
        IF last_day <= kept_from THEN
            -- Forced row-level security hides rows from the owner too; an empty count
            -- must mean an empty table.
            EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', part);
            EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s)', part) INTO is_held;
            IF NOT is_held THEN
                EXECUTE format('DROP TABLE %s', part);
                dropped := dropped + 1;
            ELSE
                EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', part);
            END IF;
        END IF;
    END LOOP;
    RETURN dropped;
END $$;
REVOKE ALL ON FUNCTION purlin_drop_audit_partitions(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION purlin_drop_audit_partitions(date) TO purlin_platform;

DO $$
DECLARE tenant_table text;
BEGIN
    FOREACH tenant_table IN ARRAY ARRAY[
        'sessions', 'api_keys', 'one_time_tokens', 'second_factors', 'recovery_codes', 'invitations',
        'idempotency_keys', 'audit_heads', 'audit_checkpoints'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY own_tenant ON %I TO purlin_app
            USING (tenant_id = purlin_tenant()) WITH CHECK (tenant_id = purlin_tenant())', tenant_table);
    END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE
    ON sessions, api_keys, one_time_tokens, second_factors, recovery_codes, invitations, idempotency_keys
    TO purlin_app;
GRANT SELECT ON audit_heads, audit_checkpoints TO purlin_app;
-- Erasing personal data empties the events that carried it.
GRANT UPDATE (data) ON events TO purlin_app;

-- What crosses tenants: chaining the audit log, forgetting what expired.
CREATE POLICY platform ON sessions TO purlin_platform USING (true) WITH CHECK (true);
CREATE POLICY platform ON one_time_tokens TO purlin_platform USING (true) WITH CHECK (true);
CREATE POLICY platform ON idempotency_keys TO purlin_platform USING (true) WITH CHECK (true);
CREATE POLICY platform ON audit_heads TO purlin_platform USING (true) WITH CHECK (true);
CREATE POLICY platform ON audit_checkpoints TO purlin_platform USING (true) WITH CHECK (true);
CREATE POLICY platform_chain ON audit_log TO purlin_platform USING (true) WITH CHECK (true);
GRANT SELECT (expires_at), DELETE ON sessions, one_time_tokens TO purlin_platform;
GRANT SELECT (created_at), DELETE ON idempotency_keys TO purlin_platform;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO purlin_platform;
GRANT SELECT, INSERT, DELETE ON audit_checkpoints TO purlin_platform;
-- Of a user, what sign-in looks for: never a hash.
REVOKE SELECT ON users FROM purlin_platform;
GRANT SELECT (tenant_id, id, email, is_verified, is_operator, created_at, deleted_at) ON users TO purlin_platform;
GRANT SELECT, DELETE, UPDATE (mac, seq, hash) ON audit_log TO purlin_platform;
GRANT SELECT, INSERT, UPDATE ON signing_keys TO purlin_platform;
