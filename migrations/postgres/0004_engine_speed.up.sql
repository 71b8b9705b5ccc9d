-- What every job paid for at each of its steps, and few used: people list jobs by id, which
-- is the order in which they were enqueued, and the engine ends them by where their rows lie.
DROP INDEX jobs_time, job_history_time;
ALTER TABLE jobs DROP CONSTRAINT jobs_pkey, ADD PRIMARY KEY (tenant_id, id);

-- Every row of these is written for a tenant that is there, and tenants stay. To look that up
-- again for each row, and to lock the tenant's row for it, costs more than the row itself
-- where very many are written for one tenant at once.
ALTER TABLE jobs DROP CONSTRAINT jobs_tenant_id_fkey;
ALTER TABLE events DROP CONSTRAINT events_tenant_id_fkey;
ALTER TABLE audit_log DROP CONSTRAINT audit_log_tenant_id_fkey;
ALTER TABLE records DROP CONSTRAINT records_tenant_id_fkey;
