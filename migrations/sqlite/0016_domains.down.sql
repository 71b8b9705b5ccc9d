ALTER TABLE tenants DROP COLUMN domain_approved_at;
