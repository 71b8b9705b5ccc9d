DROP VIEW all_jobs;
DROP TABLE event_relays;
DROP TABLE webhooks;
DROP TABLE workers;
DROP TABLE platform_job_pauses;
DROP TABLE job_pauses;
DROP TABLE schedules;
CREATE TABLE jobs_before (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    kind text NOT NULL,
    plugin text NOT NULL,
    payload text NOT NULL,
    state text NOT NULL CHECK (state IN ('ready', 'running', 'succeeded', 'dead', 'cancelled')),
    run_at text NOT NULL,
    attempt integer NOT NULL,
    attempts_max integer NOT NULL,
    crashes integer NOT NULL,
    run_lease integer NOT NULL,
    leased_until text,
    worker blob,
    last_error text,
    result text,
    progress integer,
    progress_message text,
    event_id blob,
    unique_key text,
    caused_by blob,
    root_id blob NOT NULL,
    depth integer NOT NULL,
    started_at text,
    finished_at text,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    PRIMARY KEY (tenant_id, id)
) STRICT;

INSERT INTO jobs_before (
    tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease, leased_until,
    worker, last_error, result, progress, progress_message, event_id, unique_key, caused_by, root_id, depth,
    started_at, finished_at, created_at, updated_at, created_by, updated_by)
SELECT
    tenant_id, id, kind, plugin, payload, CASE WHEN state IN ('scheduled', 'waiting') THEN 'ready' ELSE state END,
    run_at, attempt, attempts_max, crashes, run_lease, leased_until, worker, last_error, result, progress,
    progress_message, event_id, unique_key, caused_by, root_id, depth, started_at, finished_at, created_at, updated_at,
    created_by, updated_by
FROM jobs
UNION ALL
SELECT
    tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease, NULL, NULL,
    last_error, result, progress, progress_message, event_id, unique_key, caused_by, root_id, depth, started_at,
    finished_at, created_at, updated_at, NULL, NULL
FROM job_history;
DROP TABLE job_history;
DROP TABLE jobs;
ALTER TABLE jobs_before RENAME TO jobs;
CREATE INDEX jobs_ready ON jobs (run_at, id) WHERE state = 'ready';
CREATE INDEX jobs_running ON jobs (leased_until) WHERE state = 'running';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_root ON jobs (tenant_id, root_id);
CREATE INDEX jobs_time ON jobs (tenant_id, created_at, id);
CREATE UNIQUE INDEX jobs_unique_key ON jobs (tenant_id, kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('ready', 'running');
