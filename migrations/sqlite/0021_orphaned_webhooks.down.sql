ALTER TABLE webhooks DROP COLUMN orphaned_at;
ALTER TABLE webhooks DROP COLUMN responsible_id;
