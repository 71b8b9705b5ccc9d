-- A job that ran when its worker died is a suspect: suspects run one at a time, so that a crash
-- is the fault of one of them alone.
ALTER TABLE jobs
    ADD COLUMN is_suspect boolean NOT NULL DEFAULT false,
    ADD COLUMN crashes_alone bigint NOT NULL DEFAULT 0;
ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY;
UPDATE jobs SET is_suspect = true WHERE crashes > 0 AND state IN ('scheduled', 'ready', 'running');
UPDATE jobs SET state = 'scheduled' WHERE is_suspect AND state = 'ready';
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;

DROP INDEX jobs_scheduled;
CREATE INDEX jobs_scheduled ON jobs (run_at) WHERE state = 'scheduled' AND NOT is_suspect;
CREATE INDEX jobs_suspects ON jobs (crashes_alone, run_at, seq) WHERE state = 'scheduled' AND is_suspect;
CREATE INDEX jobs_running_suspects ON jobs (worker, id) WHERE state = 'running' AND is_suspect;
