-- Sessions, API keys, second factors, invitations, one-time tokens, idempotency keys,
-- signing keys, and the chain over the audit log.

-- A table constraint cannot be dropped, so the table of users is made anew. Migrations run
-- with foreign keys off: dropping the old table deletes nothing that refers to it.

ALTER TABLE tenants ADD COLUMN provisioned_at text;
UPDATE tenants SET provisioned_at = created_at;

CREATE TABLE users_new (
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
    last_login_at text,
    deleted_at text,
    erased_at text,
    PRIMARY KEY (tenant_id, id)
) STRICT;
INSERT INTO users_new (tenant_id, id, email, password_hash, first_name, last_name, is_active, is_verified, is_operator,
    created_at, updated_at, created_by, updated_by)
SELECT tenant_id, id, email, password_hash, first_name, last_name, is_active, is_verified, is_operator,
    created_at, updated_at, created_by, updated_by FROM users;
DROP TABLE users;
ALTER TABLE users_new RENAME TO users;
CREATE INDEX users_email ON users (email);
-- The address of a deleted user is free again.
CREATE UNIQUE INDEX users_address ON users (tenant_id, email) WHERE deleted_at IS NULL;
CREATE INDEX users_time ON users (tenant_id, created_at, id);

-- One sign-in: the family of its refresh tokens. The newest one has this generation.
CREATE TABLE sessions (
    tenant_id blob NOT NULL,
    id blob NOT NULL,
    user_id blob NOT NULL,
    generation integer NOT NULL,
    rotated_at text NOT NULL,
    expires_at text NOT NULL,
    revoked_at text,
    ip text,
    user_agent text,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX sessions_user ON sessions (tenant_id, user_id);
CREATE INDEX sessions_age ON sessions (expires_at);

CREATE TABLE api_keys (
    tenant_id blob NOT NULL,
    id blob NOT NULL,
    user_id blob NOT NULL,
    name text NOT NULL,
    hint text NOT NULL,
    key_hash text NOT NULL,
    scopes text NOT NULL,
    expires_at text,
    last_used_at text,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX api_keys_time ON api_keys (tenant_id, created_at, id);
CREATE INDEX api_keys_user ON api_keys (tenant_id, user_id);

-- What a mail carries: proof of an address, leave to set a new password.
CREATE TABLE one_time_tokens (
    tenant_id blob NOT NULL,
    id blob NOT NULL,
    user_id blob NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('verify_email', 'reset_password')),
    secret_hash text NOT NULL,
    expires_at text NOT NULL,
    used_at text,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX one_time_tokens_user ON one_time_tokens (tenant_id, user_id);
CREATE INDEX one_time_tokens_age ON one_time_tokens (expires_at);

-- A second factor: TOTP. The secret is sealed under the master key.
CREATE TABLE second_factors (
    tenant_id blob NOT NULL,
    user_id blob NOT NULL,
    secret blob NOT NULL,
    confirmed_at text,
    last_step integer NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, user_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
) STRICT;

CREATE TABLE recovery_codes (
    tenant_id blob NOT NULL,
    user_id blob NOT NULL,
    code_hash text NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, user_id, code_hash),
    FOREIGN KEY (tenant_id, user_id) REFERENCES second_factors (tenant_id, user_id) ON DELETE CASCADE
) STRICT;

CREATE TABLE invitations (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    email text NOT NULL,
    role_ids text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'accepted', 'revoked')),
    secret_hash text NOT NULL,
    invited_by blob,
    sent_count integer NOT NULL,
    expires_at text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE UNIQUE INDEX invitations_address ON invitations (tenant_id, email) WHERE status = 'pending';
CREATE INDEX invitations_time ON invitations (tenant_id, created_at, id);

-- Answers to writes that named a key, sealed under the master key.
CREATE TABLE idempotency_keys (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    actor text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    response blob NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, actor, key)
) STRICT;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- The keys that sign access tokens. The private half is sealed, and gone once retired;
-- the public half stays, since checkpoints of the audit log were signed with it.
CREATE TABLE signing_keys (
    id text PRIMARY KEY,
    public_key text NOT NULL,
    private_key blob,
    mac text NOT NULL,
    signs_from text NOT NULL,
    retired_at text,
    created_at text NOT NULL
) STRICT;

-- The audit log as a hash chain of each tenant. A row carries its own MAC from the
-- beginning; its place in the chain is given shortly after its transaction.
ALTER TABLE audit_log ADD COLUMN mac text;
ALTER TABLE audit_log ADD COLUMN seq integer;
ALTER TABLE audit_log ADD COLUMN hash text;
CREATE INDEX audit_log_unchained ON audit_log (tenant_id, created_at, id) WHERE seq IS NULL;
CREATE INDEX audit_log_seq ON audit_log (tenant_id, seq);

CREATE TABLE audit_heads (
    tenant_id blob PRIMARY KEY REFERENCES tenants (id),
    seq integer NOT NULL,
    hash text NOT NULL,
    updated_at text NOT NULL
) STRICT;

-- Signed: what the chain was at a time. A cut is where retention ended: what came before
-- was deleted on purpose.
CREATE TABLE audit_checkpoints (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    seq integer NOT NULL,
    hash text NOT NULL,
    is_cut integer NOT NULL,
    token text NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, seq, is_cut)
) STRICT;
