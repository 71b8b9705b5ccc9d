REVOKE DELETE ON plugin_logs FROM purlin_app;
DROP TABLE plugin_invocations, plugin_usage, plugin_files, plugin_secrets;
UPDATE installations SET state = 'disabled' WHERE state = 'paused';
ALTER TABLE installations
    DROP CONSTRAINT installations_state_check,
    ADD CONSTRAINT installations_state_check CHECK (state IN ('enabled', 'disabled')),
    DROP COLUMN settings,
    DROP COLUMN previous_version_id,
    DROP COLUMN previous_grants,
    DROP COLUMN upgraded_at,
    DROP COLUMN reason;
