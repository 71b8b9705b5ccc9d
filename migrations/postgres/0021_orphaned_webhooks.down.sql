REVOKE UPDATE (payload) ON job_history FROM purlin_app;
ALTER TABLE webhooks DROP COLUMN orphaned_at;
ALTER TABLE webhooks DROP COLUMN responsible_id;
