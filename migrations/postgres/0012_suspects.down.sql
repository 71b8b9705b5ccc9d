DROP INDEX jobs_suspects, jobs_running_suspects, jobs_scheduled;
ALTER TABLE jobs DROP COLUMN is_suspect, DROP COLUMN crashes_alone;
CREATE INDEX jobs_scheduled ON jobs (run_at) WHERE state = 'scheduled';
