-- Beside texts in other letters than ASCII their folded copies (NFKC, full case folding), by which
-- searches compare them: a document with a member for each text that has one. A job of each tenant
-- makes those of what is there.
ALTER TABLE users ADD COLUMN folded text;
ALTER TABLE tenants ADD COLUMN folded text;
ALTER TABLE roles ADD COLUMN folded text;
ALTER TABLE webhooks ADD COLUMN folded text;
ALTER TABLE plugin_logs ADD COLUMN folded text;
ALTER TABLE api_keys ADD COLUMN folded text;
ALTER TABLE invitations ADD COLUMN folded text;
ALTER TABLE records ADD COLUMN folded text;

INSERT INTO jobs (tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease, unique_key, root_id,
    depth, created_at, updated_at)
SELECT t.id, t.job, 'fold_texts', 'core', '{}', 'ready', t.now, 0, 20, 0, 0, 'fold_texts', t.job, 0, t.now, t.now
FROM (SELECT id, randomblob(16) AS job, strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now') AS now FROM tenants) t;
