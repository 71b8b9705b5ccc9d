DROP TABLE plugin_invocations;
DROP TABLE plugin_usage;
DROP TABLE plugin_files;
DROP TABLE plugin_secrets;
CREATE TABLE old_installations (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    plugin text NOT NULL REFERENCES plugins (name),
    version_id blob NOT NULL REFERENCES plugin_versions (id),
    state text NOT NULL CHECK (state IN ('enabled', 'disabled')),
    grants text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, plugin)
) STRICT;
INSERT INTO old_installations
    SELECT tenant_id, id, plugin, version_id, CASE state WHEN 'paused' THEN 'disabled' ELSE state END, grants,
        created_at, updated_at, created_by, updated_by
    FROM installations;
DROP TABLE installations;
ALTER TABLE old_installations RENAME TO installations;
