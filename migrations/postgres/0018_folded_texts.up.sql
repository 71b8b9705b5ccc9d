-- Beside texts in other letters than ASCII their folded copies (NFKC, full case folding), by which
-- searches compare them: a document with a member for each text that has one. A job of each tenant
-- makes those of what is there.
ALTER TABLE users ADD COLUMN folded jsonb;
ALTER TABLE tenants ADD COLUMN folded jsonb;
ALTER TABLE roles ADD COLUMN folded jsonb;
ALTER TABLE webhooks ADD COLUMN folded jsonb;
ALTER TABLE plugin_logs ADD COLUMN folded jsonb;
ALTER TABLE api_keys ADD COLUMN folded jsonb;
ALTER TABLE invitations ADD COLUMN folded jsonb;
ALTER TABLE records ADD COLUMN folded jsonb;
GRANT UPDATE (folded) ON plugin_logs TO purlin_app;

ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY;
INSERT INTO jobs (tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease, unique_key, root_id,
    depth, created_at, updated_at)
SELECT t.id, j.id, 'fold_texts', 'core', '{}', 'ready', now(), 0, 20, 0, 0, 'fold_texts', j.id, 0, now(), now()
FROM tenants t CROSS JOIN LATERAL (SELECT gen_random_uuid() AS id WHERE t.id IS NOT NULL) j;
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
