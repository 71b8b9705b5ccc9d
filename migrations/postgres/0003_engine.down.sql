DROP POLICY platform_events ON events;
REVOKE SELECT ON events FROM purlin_platform;
REVOKE INSERT ON jobs FROM purlin_platform;
DROP INDEX events_position, events_relay;
ALTER TABLE events DROP COLUMN position;
DROP VIEW all_jobs;
DROP TABLE event_relays, webhooks, workers, platform_job_pauses, job_pauses, schedules;
DROP INDEX jobs_ready, jobs_scheduled, jobs_running, jobs_dead, jobs_root, jobs_unique_key, jobs_lane_head, jobs_lane;
ALTER TABLE jobs DROP CONSTRAINT jobs_state_check;
ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE job_history NO FORCE ROW LEVEL SECURITY;
UPDATE jobs SET state = 'ready' WHERE state IN ('scheduled', 'waiting');
INSERT INTO jobs (tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease, last_error,
    result, progress, progress_message, event_id, unique_key, caused_by, root_id, depth, started_at, finished_at, created_at,
    updated_at)
SELECT tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease, last_error, result,
    progress, progress_message, event_id, unique_key, caused_by, root_id, depth, started_at, finished_at, created_at, updated_at
FROM job_history WHERE tenant_id IN (SELECT id FROM tenants);
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;
DROP TABLE job_history;
DROP FUNCTION purlin_create_job_partitions(date, int);
DROP FUNCTION purlin_drop_job_partitions(date);
ALTER TABLE jobs RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_insert_scale_factor,
    autovacuum_analyze_scale_factor, autovacuum_vacuum_cost_delay);
ALTER TABLE jobs DROP COLUMN seq, DROP COLUMN queue, DROP COLUMN priority, DROP COLUMN ordering_key, DROP COLUMN blocks_lane,
    DROP COLUMN schedule_id, DROP COLUMN webhook_id, DROP COLUMN cancel_at;
ALTER TABLE jobs ADD CONSTRAINT jobs_state_check CHECK (state IN ('ready', 'running', 'succeeded', 'dead', 'cancelled'));
ALTER TABLE jobs DROP CONSTRAINT jobs_pkey, ADD PRIMARY KEY (tenant_id, id);
CREATE INDEX jobs_ready ON jobs (run_at, id) WHERE state = 'ready';
CREATE INDEX jobs_running ON jobs (leased_until) WHERE state = 'running';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_root ON jobs (tenant_id, root_id);
CREATE UNIQUE INDEX jobs_unique_key ON jobs (tenant_id, kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('ready', 'running');
