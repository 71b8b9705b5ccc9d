-- Who answers for a webhook, and since when they may not read events any more.
ALTER TABLE webhooks ADD COLUMN responsible_id blob;
ALTER TABLE webhooks ADD COLUMN orphaned_at text;
UPDATE webhooks SET responsible_id = created_by;
