DROP VIEW all_jobs;
ALTER TABLE events DROP COLUMN traceparent;
ALTER TABLE job_history DROP COLUMN traceparent;
ALTER TABLE jobs DROP COLUMN traceparent;
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
