DELETE FROM jobs WHERE kind = 'fold_texts';
ALTER TABLE users DROP COLUMN folded;
ALTER TABLE tenants DROP COLUMN folded;
ALTER TABLE roles DROP COLUMN folded;
ALTER TABLE webhooks DROP COLUMN folded;
ALTER TABLE plugin_logs DROP COLUMN folded;
ALTER TABLE api_keys DROP COLUMN folded;
ALTER TABLE invitations DROP COLUMN folded;
ALTER TABLE records DROP COLUMN folded;
