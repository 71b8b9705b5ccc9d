-- The roles stay: they belong to the cluster, and other databases may use them.
DROP TABLE IF EXISTS plugin_logs, record_keys, records, jobs, installations, plugin_versions, plugin_components,
    plugins, events, audit_log, user_roles, role_permissions, roles, permissions, users, tenants CASCADE;
DROP FUNCTION IF EXISTS purlin_create_partitions(date, int);
DROP FUNCTION IF EXISTS purlin_tenant();
