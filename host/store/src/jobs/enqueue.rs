//! Adding jobs.

use purlin_domain::{
    Timestamp,
    event::Cause,
    id::{EventId, JobId, UserId},
    job::{CORE, NewJob},
};
use sea_query::Value;
use uuid::Uuid;

use crate::{Result, TenantTx, postgres, value::params};

/// Which plugin a new job is for, and which event it delivers.
#[derive(Clone, Debug)]
pub struct Enqueue<'a> {
    /// The job.
    pub job: &'a NewJob,
    /// The plugin.
    pub plugin: &'a str,
    /// The event.
    pub event: Option<EventId>,
    /// What led to it.
    pub cause: &'a Cause,
    /// Who asked for it.
    pub by: Option<UserId>,
}

impl<'a> Enqueue<'a> {
    /// A job of the platform's own.
    pub fn core(job: &'a NewJob, cause: &'a Cause) -> Self {
        Self { job, plugin: CORE, event: None, cause, by: None }
    }
}

const COLUMNS: [&str; 25] = [
    "id",
    "kind",
    "plugin",
    "payload",
    "queue",
    "priority",
    "state",
    "run_at",
    "attempt",
    "attempts_max",
    "crashes",
    "run_lease",
    "event_id",
    "unique_key",
    "ordering_key",
    "blocks_lane",
    "schedule_id",
    "webhook_id",
    "caused_by",
    "root_id",
    "depth",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
];

/// The index of the heads of lanes.
const HEADS: &str = "(tenant_id, ordering_key)
    WHERE ordering_key IS NOT NULL AND (state IN ('scheduled', 'ready', 'running') OR (state = 'dead' AND blocks_lane))";

/// Add jobs, in the transaction that causes them. A unique key that is taken fails with `Taken`.
///
/// A job with an ordering key is at the head of its lane, or waits behind those that are
/// before it there. Those who add to a lane hold it against whoever finishes its head, until
/// the transaction ends; not against each other.
pub async fn insert(tx: &mut TenantTx, jobs: &[Enqueue<'_>], now: Timestamp) -> Result<()> {
    let row = |e: &Enqueue<'_>, state: &str| row(e, state, now);
    let due = |e: &Enqueue<'_>| if e.job.run_at <= now { "ready" } else { "scheduled" };
    let (mut ordered, others): (Vec<&Enqueue<'_>>, Vec<&Enqueue<'_>>) =
        jobs.iter().partition(|e| e.job.ordering_key.is_some());
    let (unique, free): (Vec<&Enqueue<'_>>, Vec<&Enqueue<'_>>) =
        others.into_iter().partition(|e| e.job.unique_key.is_some());
    tx.insert_later("jobs", &COLUMNS, free.into_iter().map(|e| row(e, due(e))).collect()).await?;
    tx.insert_many("jobs", &COLUMNS, unique.into_iter().map(|e| row(e, due(e))).collect()).await?;
    if ordered.is_empty() {
        return Ok(());
    }
    // Two who add to the same lanes do so in the same order.
    ordered.sort_by(|a, b| a.job.ordering_key.cmp(&b.job.ordering_key));
    let keys: Vec<&str> = ordered.iter().filter_map(|e| e.job.ordering_key.as_deref()).collect();
    postgres::hold_lanes(tx, &keys, false).await?;
    let heads = ordered.iter().map(|e| row(e, due(e))).collect();
    let inserted = tx.insert_unless_taken("jobs", &COLUMNS, heads, HEADS).await?;
    let behind = ordered.iter().filter(|e| !inserted.contains(&e.job.id.0)).map(|e| row(e, "waiting")).collect();
    tx.insert_many("jobs", &COLUMNS, behind).await
}

fn row(e: &Enqueue<'_>, state: &str, now: Timestamp) -> Vec<Value> {
    let Enqueue { job, cause, by, .. } = *e;
    params![
        job.id,
        &job.kind,
        e.plugin,
        &job.payload,
        job.queue.as_str(),
        i64::from(job.priority),
        state,
        job.run_at,
        0i64,
        job.attempts_max,
        0i64,
        0i64,
        e.event,
        job.unique_key.clone(),
        job.ordering_key.clone(),
        job.blocks_lane,
        job.schedule,
        job.webhook,
        cause.user,
        cause.root,
        cause.depth,
        now,
        now,
        by,
        by
    ]
}

/// The unfinished job of this kind with this key.
pub async fn unfinished_with_key(tx: &mut TenantTx, kind: &str, key: &str) -> Result<Option<JobId>> {
    let row: Option<(Uuid,)> = tx
        .fetch_optional(
            "SELECT id FROM jobs WHERE tenant_id = $1 AND kind = $2 AND unique_key = $3 AND state <> 'dead'",
            params![kind, key],
        )
        .await?;
    Ok(row.map(|(id,)| JobId(id)))
}

/// How many jobs descend from one root cause, those that a request caused itself not counted.
pub async fn chain_size(tx: &mut TenantTx, root: Uuid) -> Result<i64> {
    let (count,): (i64,) = tx
        .fetch_one(
            "SELECT (SELECT count(*) FROM jobs WHERE tenant_id = $1 AND root_id = $2 AND depth > 0)
                + (SELECT count(*) FROM job_history WHERE tenant_id = $1 AND root_id = $2 AND depth > 0)",
            params![root],
        )
        .await?;
    Ok(count)
}

/// How many jobs wait, counted no further than `most`.
pub async fn queued(tx: &mut TenantTx, most: i64) -> Result<i64> {
    let (count,): (i64,) = tx
        .fetch_one(
            "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE tenant_id = $1 AND state IN ('ready', 'scheduled', 'waiting') LIMIT $2) w",
            params![most],
        )
        .await?;
    Ok(count)
}
