-- A host name that a tenant claims counts once whoever runs the platform approved it.
ALTER TABLE tenants ADD COLUMN domain_approved_at timestamptz;
