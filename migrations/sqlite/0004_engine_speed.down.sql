CREATE INDEX jobs_time ON jobs (tenant_id, created_at, id);
CREATE INDEX job_history_time ON job_history (tenant_id, created_at, id);
