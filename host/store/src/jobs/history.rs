//! What history keeps of a job that ended.

/// Moves rows `d` from wherever the rest of the statement takes them; how they ended is
/// given as expressions.
macro_rules! history {
    ($state:literal, $error:literal, $result:literal, $progress:literal, $message:literal, $at:literal) => {
        concat!(
            "INSERT INTO job_history (tenant_id, id, kind, plugin, payload, state, queue, priority, run_at, attempt, attempts_max,
                crashes, run_lease, last_error, result, progress, progress_message, event_id, unique_key, ordering_key,
                schedule_id, webhook_id, caused_by, root_id, depth, traceparent, started_at, finished_at, created_at, updated_at)
             SELECT d.tenant_id, d.id, d.kind, d.plugin, d.payload, ",
            $state,
            ", d.queue, d.priority, d.run_at, d.attempt, d.attempts_max, d.crashes, d.run_lease, ",
            $error,
            ", ",
            $result,
            ", ",
            $progress,
            ", ",
            $message,
            ", d.event_id, d.unique_key, d.ordering_key, d.schedule_id, d.webhook_id, d.caused_by, d.root_id, d.depth, d.traceparent,
                d.started_at, ",
            $at,
            ", d.created_at, ",
            $at,
            " FROM "
        )
    };
}
pub(super) use history;
