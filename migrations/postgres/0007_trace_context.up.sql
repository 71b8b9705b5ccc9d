-- The span that caused it, as W3C Trace Context writes it. What came before has none.
ALTER TABLE jobs ADD COLUMN traceparent text;
ALTER TABLE job_history ADD COLUMN traceparent text;
ALTER TABLE events ADD COLUMN traceparent text;

CREATE OR REPLACE VIEW all_jobs WITH (security_invoker = true) AS
SELECT tenant_id, id, kind, plugin, payload, state, queue, priority, run_at, attempt, attempts_max, crashes, last_error, result,
    progress, progress_message, event_id, unique_key, ordering_key, schedule_id, webhook_id, caused_by, root_id, depth, started_at,
    finished_at, cancel_at, created_at, updated_at, traceparent
FROM jobs
UNION ALL
SELECT tenant_id, id, kind, plugin, payload, state, queue, priority, run_at, attempt, attempts_max, crashes, last_error, result,
    progress, progress_message, event_id, unique_key, ordering_key, schedule_id, webhook_id, caused_by, root_id, depth, started_at,
    finished_at, NULL, created_at, updated_at, traceparent
FROM job_history;
