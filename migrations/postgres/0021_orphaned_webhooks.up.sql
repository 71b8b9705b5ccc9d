-- Who answers for a webhook, and since when they may not read events any more.
ALTER TABLE webhooks ADD COLUMN responsible_id uuid, ADD COLUMN orphaned_at timestamptz;
ALTER TABLE webhooks NO FORCE ROW LEVEL SECURITY;
UPDATE webhooks SET responsible_id = created_by;
ALTER TABLE webhooks FORCE ROW LEVEL SECURITY;

-- What is personal in the payload of a job that ended is erased with the person.
GRANT UPDATE (payload) ON job_history TO purlin_app;
