//! Jobs: claimed under a lease with a fence, finished by whoever still holds it.

use purlin_domain::{
    Json, Timestamp,
    event::Cause,
    filter::{Field, FieldType},
    id::{EventId, JobId, TenantId, UserId},
    job::{CORE, JobState, NewJob},
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh, conn::Conn, value::params};

/// A job, as people see it.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct Job {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// The plugin that runs it.
    pub plugin: String,
    /// What it is about.
    pub payload: Json,
    /// Where it is in its life.
    #[sqlx(try_from = "String")]
    pub state: JobState,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Runs so far, crashes not counted.
    pub attempt: i64,
    /// Runs at most.
    pub attempts_max: i64,
    /// Runs that took their worker down.
    pub crashes: i64,
    /// Why the last run failed.
    pub last_error: Option<String>,
    /// What the job returned.
    pub result: Option<Json>,
    /// How far it is, 0 to 100.
    pub progress: Option<i64>,
    /// What it says of that.
    pub progress_message: Option<String>,
    /// The event it delivers.
    pub event_id: Option<Uuid>,
    /// Its unique key.
    pub unique_key: Option<String>,
    /// The user whose request led to it.
    pub caused_by: Option<Uuid>,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A job in the hands of a worker.
#[derive(Clone, Debug, FromRow)]
pub struct Claimed {
    /// Its tenant.
    #[sqlx(try_from = "Uuid")]
    pub tenant_id: TenantId,
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// The plugin that runs it.
    pub plugin: String,
    /// What it is about.
    pub payload: Json,
    /// This run, 1 for the first.
    pub attempt: i64,
    /// Runs at most.
    pub attempts_max: i64,
    /// The fence: what this claim's writes must still find.
    pub run_lease: i64,
    /// The event it delivers.
    pub event_id: Option<Uuid>,
    /// The user whose request led to it.
    pub caused_by: Option<Uuid>,
    /// The first event or job of its chain.
    pub root_id: Uuid,
    /// Steps from the request that began the chain.
    pub depth: i64,
}

impl Claimed {
    /// What this claim's writes must still find.
    pub fn fence(&self) -> Fence {
        Fence { job: self.id, run_lease: self.run_lease }
    }
}

/// Which job, under which claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// The claim.
    pub run_lease: i64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is done.
    Succeeded {
        /// What it returned.
        result: Option<Json>,
        /// What it last said of its progress.
        progress: Option<(i64, Option<String>)>,
    },
    /// It failed and is to run again.
    Retry {
        /// When.
        run_at: Timestamp,
        /// Why it failed.
        error: String,
    },
    /// It could not run now; this was no attempt.
    Released {
        /// When to look again.
        run_at: Timestamp,
    },
    /// It failed for good.
    Dead {
        /// Why.
        error: String,
    },
}

/// Which plugin a new job is for, and which event it delivers.
#[derive(Clone, Debug)]
pub struct Enqueue<'a> {
    /// The job.
    pub job: &'a NewJob,
    /// The plugin.
    pub plugin: &'a str,
    /// The event.
    pub event: Option<EventId>,
}

impl<'a> Enqueue<'a> {
    /// A job of the platform's own.
    pub fn core(job: &'a NewJob) -> Self {
        Self { job, plugin: CORE, event: None }
    }
}

/// Add jobs, in the transaction that causes them. A unique key that is taken fails with `Taken`.
pub async fn insert(
    tx: &mut TenantTx,
    jobs: &[Enqueue<'_>],
    cause: &Cause,
    now: Timestamp,
    by: Option<UserId>,
) -> Result<()> {
    let rows = jobs.iter().map(|Enqueue { job, plugin, event }| {
        params![
            job.id,
            &job.kind,
            *plugin,
            &job.payload,
            "ready",
            job.run_at,
            0i64,
            job.attempts_max,
            0i64,
            0i64,
            *event,
            job.unique_key.clone(),
            cause.user,
            cause.root,
            cause.depth,
            now,
            now,
            by,
            by
        ]
    });
    let columns = [
        "id",
        "kind",
        "plugin",
        "payload",
        "state",
        "run_at",
        "attempt",
        "attempts_max",
        "crashes",
        "run_lease",
        "event_id",
        "unique_key",
        "caused_by",
        "root_id",
        "depth",
        "created_at",
        "updated_at",
        "created_by",
        "updated_by",
    ];
    tx.insert_many("jobs", &columns, rows.collect()).await
}

/// The unfinished job of this kind with this key.
pub async fn unfinished_with_key(tx: &mut TenantTx, kind: &str, key: &str) -> Result<Option<JobId>> {
    let row: Option<(Uuid,)> = tx
        .fetch_optional(
            "SELECT id FROM jobs WHERE tenant_id = $1 AND kind = $2 AND unique_key = $3 AND state IN ('ready', 'running')",
            params![kind, key],
        )
        .await?;
    Ok(row.map(|(id,)| JobId(id)))
}

/// How many jobs descend from one root cause.
pub async fn chain_size(tx: &mut TenantTx, root: Uuid) -> Result<i64> {
    let (count,): (i64,) =
        tx.fetch_one("SELECT count(*) FROM jobs WHERE tenant_id = $1 AND root_id = $2", params![root]).await?;
    Ok(count)
}

/// What a list shows of a job: not its payload and result, which may be large.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct JobSummary {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// The plugin that runs it.
    pub plugin: String,
    /// Where it is in its life.
    #[sqlx(try_from = "String")]
    pub state: JobState,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Runs so far, crashes not counted.
    pub attempt: i64,
    /// Runs at most.
    pub attempts_max: i64,
    /// Runs that took their worker down.
    pub crashes: i64,
    /// Why the last run failed.
    pub last_error: Option<String>,
    /// How far it is, 0 to 100.
    pub progress: Option<i64>,
    /// The event it delivers.
    pub event_id: Option<Uuid>,
    /// The user whose request led to it.
    pub caused_by: Option<Uuid>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it was enqueued.
    pub created_at: Timestamp,
}

impl Weigh for JobSummary {
    fn bytes(&self) -> usize {
        self.last_error.as_ref().map_or(0, String::len)
    }
}

const COLUMNS: &[&str] = &[
    "id",
    "kind",
    "plugin",
    "state",
    "run_at",
    "attempt",
    "attempts_max",
    "crashes",
    "last_error",
    "progress",
    "event_id",
    "caused_by",
    "finished_at",
    "created_at",
];

/// The job of this id.
pub async fn by_id(tx: &mut TenantTx, id: JobId) -> Result<Option<Job>> {
    tx.fetch_optional(
        "SELECT id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, last_error, result, progress,
            progress_message, event_id, unique_key, caused_by, started_at, finished_at, created_at, updated_at
         FROM jobs WHERE tenant_id = $1 AND id = $2",
        params![id],
    )
    .await
}

/// What jobs can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    let filter_only = |name: &str, field_type| Field { sortable: false, ..Field::column(name, field_type) };
    vec![
        filter_only("state", FieldType::Text),
        filter_only("kind", FieldType::Text),
        filter_only("plugin", FieldType::Text),
        filter_only("event_id", FieldType::Uuid),
        filter_only("caused_by", FieldType::Uuid),
        filter_only("attempt", FieldType::Number),
        Field::column("run_at", FieldType::Timestamp),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of jobs.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<JobSummary>> {
    tx.list(&Listing { table: "jobs", columns: COLUMNS, scope: Vec::new(), slice }).await
}

/// Take back a job that waits; whether it did.
pub async fn cancel(tx: &mut TenantTx, id: JobId, plugin: &str, now: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE jobs SET state = 'cancelled', finished_at = $4, updated_at = $4
             WHERE tenant_id = $1 AND id = $2 AND plugin = $3 AND state = 'ready'",
            params![id, plugin, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Write how a run ended, if the claim still holds; whether it does. Without it the
/// caller must let its transaction go: somebody else has the job now.
pub async fn finish(tx: &mut TenantTx, fence: Fence, outcome: &Outcome, now: Timestamp) -> Result<bool> {
    let changed = match outcome {
        Outcome::Succeeded { result, progress } => {
            let (percent, message) = progress.clone().map_or((None, None), |(percent, message)| (Some(percent), message));
            tx.execute(
                "UPDATE jobs SET state = 'succeeded', finished_at = $4, updated_at = $4, leased_until = NULL, worker = NULL,
                    last_error = NULL, result = $5, progress = $6, progress_message = $7
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
                params![fence.job, fence.run_lease, now, result.clone(), percent, message],
            )
            .await?
        }
        Outcome::Retry { run_at, error } => {
            tx.execute(
                "UPDATE jobs SET state = 'ready', run_at = $5, updated_at = $4, leased_until = NULL, worker = NULL, last_error = $6
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
                params![fence.job, fence.run_lease, now, *run_at, error],
            )
            .await?
        }
        Outcome::Released { run_at } => {
            tx.execute(
                "UPDATE jobs SET state = 'ready', attempt = attempt - 1, run_at = $5, updated_at = $4, leased_until = NULL,
                    worker = NULL
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
                params![fence.job, fence.run_lease, now, *run_at],
            )
            .await?
        }
        Outcome::Dead { error } => {
            tx.execute(
                "UPDATE jobs SET state = 'dead', finished_at = $4, updated_at = $4, leased_until = NULL, worker = NULL, last_error = $5
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
                params![fence.job, fence.run_lease, now, error],
            )
            .await?
        }
    };
    Ok(changed == 1)
}

/// The claim, the same for both databases but for the lock on the rows picked.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "WITH picked AS MATERIALIZED (
                SELECT j.tenant_id, j.id FROM jobs j
                WHERE j.state = 'ready' AND j.run_at <= $1
                  AND EXISTS (SELECT 1 FROM tenants t WHERE t.id = j.tenant_id AND t.status = 'active')
                  AND (j.plugin = 'core' OR EXISTS (SELECT 1 FROM installations i
                              WHERE i.tenant_id = j.tenant_id AND i.plugin = j.plugin AND i.state = 'enabled'))
                ORDER BY j.run_at, j.id LIMIT $2 ",
            $lock,
            ")
            UPDATE jobs SET state = 'running', run_lease = run_lease + 1, attempt = attempt + 1, worker = $3,
                leased_until = $4, started_at = $1, updated_at = $1
            WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM picked)
            RETURNING tenant_id, id, kind, plugin, payload, attempt, attempts_max, run_lease, event_id, caused_by, root_id, depth"
        )
    };
}

/// Lease up to `count` jobs that are due, for this worker, until `until`.
pub async fn claim(
    tx: &mut PlatformTx,
    worker: Uuid,
    count: u32,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Claimed>> {
    let sql = match tx.conn {
        Conn::Postgres(_) | Conn::PostgresRead(_) => claim!("FOR UPDATE OF j SKIP LOCKED"),
        Conn::Sqlite(_) | Conn::SqliteRead(_) => claim!(""),
    };
    tx.fetch_all(sql, params![now, count, worker, until]).await
}

/// Move the end of these leases to `until`: those of jobs that really run, so that the
/// lease of any other ends.
pub async fn beat(tx: &mut PlatformTx, held: &[(TenantId, Fence)], now: Timestamp, until: Timestamp) -> Result<()> {
    for (tenant, fence) in held {
        tx.execute(
            "UPDATE jobs SET leased_until = $4, updated_at = $5
             WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
            params![*tenant, fence.job, fence.run_lease, until, now],
        )
        .await?;
    }
    Ok(())
}

/// The rescue, the same for both databases but for the lock: a row that somebody holds is
/// left for the next round rather than waited for.
macro_rules! rescue {
    ($lock:literal) => {
        concat!(
            "WITH gone AS MATERIALIZED (
                SELECT j.tenant_id, j.id FROM jobs j WHERE j.state = 'running' AND j.leased_until < $1
                ORDER BY j.leased_until LIMIT 1000 ",
            $lock,
            ")
            UPDATE jobs SET crashes = crashes + 1, attempt = attempt - 1, leased_until = NULL, worker = NULL,
                updated_at = $1, run_at = $1, last_error = 'the worker died while running it',
                state = CASE WHEN crashes + 1 >= $2 THEN 'dead' ELSE 'ready' END,
                finished_at = CASE WHEN crashes + 1 >= $2 THEN $1 END
            WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM gone) AND state = 'running' AND leased_until < $1"
        )
    };
}

/// Take jobs away from workers whose lease ended before `now`, 1,000 at a time: back to
/// ready, or to the dead letters after `crashes_max` crashes. A crash does not use up an
/// attempt.
pub async fn rescue(tx: &mut PlatformTx, now: Timestamp, crashes_max: i64) -> Result<u64> {
    let sql = match tx.conn {
        Conn::Postgres(_) | Conn::PostgresRead(_) => rescue!("FOR UPDATE OF j SKIP LOCKED"),
        Conn::Sqlite(_) | Conn::SqliteRead(_) => rescue!(""),
    };
    tx.execute(sql, params![now, crashes_max]).await
}

/// Let every lease run out: whoever held them is gone, since this process alone uses the database.
pub async fn end_all_leases(tx: &mut PlatformTx, now: Timestamp) -> Result<u64> {
    tx.execute("UPDATE jobs SET leased_until = $1 WHERE state = 'running' AND leased_until > $1", params![now]).await
}

/// Forget jobs that ended well, or were taken back, before this; how many went.
pub async fn delete_finished_before(tx: &mut PlatformTx, cutoff: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM jobs WHERE finished_at < $1 AND state IN ('succeeded', 'cancelled')", params![cutoff]).await
}
