ALTER TABLE jobs RESET (fillfactor);
DROP INDEX jobs_running;
CREATE INDEX jobs_running ON jobs (queue, tenant_id, kind) WHERE state = 'running';
