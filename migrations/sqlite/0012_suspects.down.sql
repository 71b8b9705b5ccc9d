DROP INDEX jobs_suspects;
DROP INDEX jobs_running_suspects;
DROP INDEX jobs_scheduled;
ALTER TABLE jobs DROP COLUMN is_suspect;
ALTER TABLE jobs DROP COLUMN crashes_alone;
CREATE INDEX jobs_scheduled ON jobs (run_at) WHERE state = 'scheduled';
