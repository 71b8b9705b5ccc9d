-- What every job paid for at each of its steps, and few used: people list jobs by id, which
-- is the order in which they were enqueued, and the engine ends them by where their rows lie.
DROP INDEX jobs_time, job_history_time;
ALTER TABLE jobs DROP CONSTRAINT jobs_pkey, ADD PRIMARY KEY (tenant_id, id);
