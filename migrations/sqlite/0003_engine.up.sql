-- The engine of jobs: queues, priorities, ordering keys, schedules, pauses; what ended
-- apart from what is to be done.

CREATE TABLE jobs_now (
    seq integer PRIMARY KEY AUTOINCREMENT,
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    kind text NOT NULL,
    plugin text NOT NULL,
    payload text NOT NULL,
    state text NOT NULL CHECK (state IN ('scheduled', 'waiting', 'ready', 'running', 'dead')),
    queue text NOT NULL DEFAULT 'default' CHECK (queue IN ('high', 'default', 'low')),
    priority integer NOT NULL DEFAULT 5,
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
    ordering_key text,
    blocks_lane integer NOT NULL DEFAULT 0,
    schedule_id blob,
    webhook_id blob,
    cancel_at text,
    caused_by blob,
    root_id blob NOT NULL,
    depth integer NOT NULL,
    started_at text,
    finished_at text,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    updated_by blob,
    UNIQUE (tenant_id, id)
) STRICT;

CREATE TABLE job_history (
    tenant_id blob NOT NULL,
    id blob NOT NULL,
    kind text NOT NULL,
    plugin text NOT NULL,
    payload text NOT NULL,
    state text NOT NULL CHECK (state IN ('succeeded', 'cancelled')),
    queue text NOT NULL,
    priority integer NOT NULL,
    run_at text NOT NULL,
    attempt integer NOT NULL,
    attempts_max integer NOT NULL,
    crashes integer NOT NULL,
    run_lease integer NOT NULL,
    last_error text,
    result text,
    progress integer,
    progress_message text,
    event_id blob,
    unique_key text,
    ordering_key text,
    schedule_id blob,
    webhook_id blob,
    caused_by blob,
    root_id blob NOT NULL,
    depth integer NOT NULL,
    started_at text,
    finished_at text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX job_history_time ON job_history (tenant_id, created_at, id);
CREATE INDEX job_history_root ON job_history (tenant_id, root_id) WHERE depth > 0;
CREATE INDEX job_history_age ON job_history (finished_at);

INSERT INTO job_history
SELECT tenant_id, id, kind, plugin, payload, state, 'default', 5, run_at, attempt, attempts_max, crashes, run_lease,
    last_error, result, progress, progress_message, event_id, unique_key, NULL, NULL, NULL, caused_by, root_id, depth,
    started_at, finished_at, created_at, updated_at
FROM jobs WHERE state IN ('succeeded', 'cancelled');
INSERT INTO jobs_now (
    tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease, leased_until,
    worker, last_error, result, progress, progress_message, event_id, unique_key, caused_by, root_id, depth,
    started_at, finished_at, created_at, updated_at, created_by, updated_by)
SELECT
    tenant_id, id, kind, plugin, payload, CASE WHEN state = 'ready' AND run_at > strftime('%Y-%m-%dT%H:%M:%S',
    'now') THEN 'scheduled' ELSE state END, run_at, attempt, attempts_max, crashes, run_lease, leased_until, worker,
    last_error, result, progress, progress_message, event_id, unique_key, caused_by, root_id, depth, started_at,
    finished_at, created_at, updated_at, created_by, updated_by
FROM jobs WHERE state NOT IN ('succeeded', 'cancelled') ORDER BY created_at, id;
DROP TABLE jobs;
ALTER TABLE jobs_now RENAME TO jobs;
CREATE INDEX jobs_time ON jobs (tenant_id, created_at, id);
-- In the order in which jobs are claimed: tenants that have work are found by jumping from
-- one to the next, then the first few of each are taken.
CREATE INDEX jobs_ready ON jobs (queue, tenant_id, plugin, kind, priority, run_at, seq) WHERE state = 'ready';
CREATE INDEX jobs_scheduled ON jobs (run_at) WHERE state = 'scheduled';
CREATE INDEX jobs_running ON jobs (queue, tenant_id, kind) WHERE state = 'running';
CREATE INDEX jobs_dead ON jobs (finished_at) WHERE state = 'dead';
CREATE INDEX jobs_root ON jobs (tenant_id, root_id) WHERE depth > 0;
CREATE UNIQUE INDEX jobs_unique_key ON jobs (tenant_id, kind, unique_key)
    WHERE unique_key IS NOT NULL AND state <> 'dead';
-- A lane: jobs with one ordering key. At most one of them is not behind another.
CREATE UNIQUE INDEX jobs_lane_head ON jobs (tenant_id, ordering_key)
    WHERE ordering_key IS NOT NULL AND (state IN ('scheduled', 'ready', 'running') OR (state = 'dead' AND blocks_lane));
CREATE INDEX jobs_lane ON jobs (tenant_id, ordering_key, seq) WHERE state = 'waiting';

CREATE VIEW all_jobs AS
SELECT tenant_id, id, kind, plugin, payload, state, queue, priority, run_at, attempt, attempts_max, crashes, last_error, result,
    progress, progress_message, event_id, unique_key, ordering_key, schedule_id, webhook_id, caused_by, root_id, depth, started_at,
    finished_at, cancel_at, created_at, updated_at
FROM jobs
UNION ALL
SELECT tenant_id, id, kind, plugin, payload, state, queue, priority, run_at, attempt, attempts_max, crashes, last_error, result,
    progress, progress_message, event_id, unique_key, ordering_key, schedule_id, webhook_id, caused_by, root_id, depth, started_at,
    finished_at, NULL, created_at, updated_at
FROM job_history;

-- What makes jobs again and again.
CREATE TABLE schedules (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    plugin text NOT NULL,
    kind text NOT NULL,
    cron text NOT NULL,
    time_zone text NOT NULL,
    missed text NOT NULL CHECK (missed IN ('once', 'skip')),
    is_paused integer NOT NULL,
    next_at text,
    last_at text,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, plugin, kind)
) STRICT;
CREATE INDEX schedules_due ON schedules (next_at) WHERE NOT is_paused;

-- What is not to run for now; `*` stands for every queue or kind. Those of a tenant, and
-- those of the whole platform.
CREATE TABLE job_pauses (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    queue text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    created_at text NOT NULL,
    created_by blob,
    PRIMARY KEY (tenant_id, queue, kind)
) STRICT;
CREATE TABLE platform_job_pauses (
    queue text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (queue, kind)
) STRICT;

-- Where events are sent to, over HTTP. The secrets are sealed under the master key.
CREATE TABLE webhooks (
    tenant_id blob NOT NULL REFERENCES tenants (id),
    id blob NOT NULL,
    url text NOT NULL,
    description text NOT NULL,
    event_types text NOT NULL,
    secret blob NOT NULL,
    old_secret blob,
    old_secret_until text,
    is_enabled integer NOT NULL,
    disabled_reason text,
    failing_since text,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    created_by blob,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX webhooks_time ON webhooks (tenant_id, created_at, id);

-- How far events were passed on to the stream for outside consumers.
CREATE TABLE event_relays (
    name text PRIMARY KEY,
    position integer NOT NULL,
    event_id blob NOT NULL,
    updated_at text NOT NULL
) STRICT;

-- Processes that run jobs, each boot anew.
CREATE TABLE workers (
    id blob PRIMARY KEY NOT NULL,
    host text NOT NULL,
    slots integer NOT NULL,
    started_at text NOT NULL,
    beat_at text NOT NULL
) STRICT;
