//! What has to be done now and then: forget what is old, prepare next months' partitions.

use chrono::TimeDelta;
use purlin_store::{
    idempotency as answers, jobs, one_time_tokens, plugin_logs, plugin_usage, record_locks, sessions, workers,
};

use crate::{Platform, Result, audit, idempotency, ledger::HOURS_KEPT, plugin_files, reports, storage};

/// How long a session or a token that ended is remembered, so that its end can be told.
const ENDED_KEPT: TimeDelta = TimeDelta::days(1);
/// How long the version of a locked key is remembered: longer than any invocation lasts.
const LOCKS_KEPT: TimeDelta = TimeDelta::days(1);

/// One round. Safe to run on every host at any time.
pub async fn run(platform: &Platform) -> Result<()> {
    let now = platform.now();
    platform.db.make_partitions(now).await?;
    let mut tx = platform.db.platform().await?;
    let lines = plugin_logs::delete_before(&mut tx, now - platform.settings.plugin_log_life).await?;
    let dead = jobs::delete_dead_before(&mut tx, now - platform.settings.dead_letter_life).await?;
    let invocations = now - platform.settings.plugin_log_life;
    let used = plugin_usage::delete_before(&mut tx, invocations, now - HOURS_KEPT).await?;
    workers::delete_before(&mut tx, now - ENDED_KEPT).await?;
    record_locks::delete_before(&mut tx, now - LOCKS_KEPT).await?;
    let sessions = sessions::delete_expired(&mut tx, now - ENDED_KEPT).await?;
    let tokens = one_time_tokens::delete_expired(&mut tx, now - ENDED_KEPT).await?;
    let answers = answers::delete_before(&mut tx, now - idempotency::KEPT).await?;
    tx.commit().await?;
    let jobs = platform.db.drop_job_history(now - platform.settings.job_history_life).await?;
    storage::forget_old(platform, now).await?;
    let audit_rows = audit::expire(platform).await?;
    let reports = reports::expire(platform).await?;
    let unnamed = plugin_files::sweep(platform).await?;
    let rest = audit_rows + reports + unnamed + used;
    if lines + jobs + dead + sessions + tokens + answers + rest > 0 {
        tracing::info!(
            lines,
            jobs,
            dead,
            sessions,
            tokens,
            answers,
            audit_rows,
            reports,
            unnamed,
            used,
            "forgot what is old"
        );
    }
    Ok(())
}
