-- Whose key signs what is uploaded of a plugin, which need not be there yet.
CREATE TABLE plugin_publishers (
    plugin text PRIMARY KEY,
    public_key text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid
);
GRANT SELECT, INSERT, UPDATE, DELETE ON plugin_publishers TO purlin_platform;
