DROP FUNCTION purlin_drop_audit_partitions(date);
DROP TABLE audit_checkpoints, audit_heads, signing_keys, idempotency_keys, invitations, recovery_codes, second_factors,
    one_time_tokens, api_keys, sessions;
DROP POLICY platform_chain ON audit_log;
REVOKE SELECT, DELETE, UPDATE (mac, seq, hash) ON audit_log FROM purlin_platform;
GRANT INSERT ON audit_log TO purlin_app;
DROP INDEX audit_log_unchained, audit_log_seq;
ALTER TABLE audit_log DROP COLUMN mac, DROP COLUMN seq, DROP COLUMN hash;
REVOKE UPDATE (data) ON events FROM purlin_app;
REVOKE SELECT (tenant_id, id, email, is_verified, is_operator, created_at) ON users FROM purlin_platform;
GRANT SELECT ON users TO purlin_platform;
-- Deleted users are gone for good: the old schema has no place for them.
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;
DELETE FROM users WHERE deleted_at IS NOT NULL;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
DROP INDEX users_address, users_time;
ALTER TABLE users DROP COLUMN last_login_at, DROP COLUMN deleted_at, DROP COLUMN erased_at,
    ADD CONSTRAINT users_tenant_id_email_key UNIQUE (tenant_id, email);
ALTER TABLE tenants DROP COLUMN provisioned_at;
