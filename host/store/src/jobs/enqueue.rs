//! Adding jobs.

use purlin_domain::{
    Timestamp,
    event::Cause,
    id::{EventId, JobId, UserId},
    job::{CORE, NewJob},
};
use sea_query::Value;
use uuid::Uuid;

use super::claim::{Lease, may_run};
use crate::{Result, TenantTx, built::inserts::Insert, postgres, usage::row_bytes, value::params};

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

const COLUMNS: [&str; 26] = [
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
    "traceparent",
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
    tx.stored.jobs += bytes(jobs);
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

/// Bytes of jobs, once in the queue and once in the history.
pub fn bytes(jobs: &[Enqueue<'_>]) -> i64 {
    jobs.iter().map(|e| row_bytes(&e.job.payload)).sum()
}

/// The insert of jobs that are leased at once where they may run, before and after their
/// rows; a row says how long its lease is. Without the offset PostgreSQL would ask whether it may
/// at each place where that is used.
const LEASED: (&str, &str) = (
    "INSERT INTO jobs (tenant_id, id, kind, plugin, payload, queue, priority, state, run_at, attempt, attempts_max, crashes,
        run_lease, worker, leased_until, started_at, event_id, schedule_id, webhook_id, caused_by, root_id, depth, traceparent,
        blocks_lane, created_at, updated_at, created_by, updated_by)
     SELECT $1, r.id, r.kind, r.plugin, r.payload, r.queue, r.priority, CASE WHEN m.may_run THEN 'running' ELSE 'ready' END,
        r.run_at, CASE WHEN m.may_run THEN 1 ELSE 0 END, r.attempts_max, 0, CASE WHEN m.may_run THEN 1 ELSE 0 END,
        CASE WHEN m.may_run THEN r.worker END,
        CASE WHEN m.may_run THEN statement_timestamp() + r.seconds * interval '1 second' END,
        CASE WHEN m.may_run THEN r.created_at END, r.event_id, r.schedule_id, r.webhook_id, r.caused_by, r.root_id,
        r.depth, r.traceparent, r.blocks_lane, r.created_at, r.updated_at, r.created_by, r.updated_by
     FROM ",
    concat!(
        " CROSS JOIN LATERAL (SELECT ",
        may_run!("r.queue", "$1", "r.plugin", "r.kind"),
        " AS may_run OFFSET 0) m"
    ),
);

/// Whether a job can be added as leased: it is due, and no key holds it back.
pub fn is_leasable(job: &NewJob, now: Timestamp) -> bool {
    job.run_at <= now && job.unique_key.is_none() && job.ordering_key.is_none()
}

/// Add jobs that are [leasable](is_leasable) as leased, each as far as it may run, and commit:
/// the statement that writes them is the last of the transaction. Those that are leased, and
/// where their rows lie. The embedded database only adds them.
pub async fn insert_leased(
    mut tx: TenantTx,
    jobs: &[Enqueue<'_>],
    lease: Lease,
    now: Timestamp,
) -> Result<Vec<(JobId, String)>> {
    if !tx.conn.is_postgres() {
        insert(&mut tx, jobs, now).await?;
        tx.commit().await?;
        return Ok(Vec::new());
    }
    let (columns, length) = ([&COLUMNS[..], &["worker", "seconds"]].concat(), lease.length.as_secs_f64());
    let row = |e: &Enqueue<'_>| [row(e, "ready", now), params![lease.worker, length]].concat();
    let last = Insert::with(LEASED, columns, jobs.iter().map(row).collect());
    let rows: Vec<(Uuid, String)> =
        tx.commit_with(last, " RETURNING id, CASE WHEN state = 'running' THEN CAST(ctid AS text) ELSE '' END").await?;
    Ok(rows.into_iter().filter(|(_, place)| !place.is_empty()).map(|(id, place)| (JobId(id), place)).collect())
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
        cause.trace.to_string(),
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
