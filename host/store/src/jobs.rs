//! Jobs: enqueued, claimed under a lease with a fence, finished by whoever still holds it.
//!
//! `jobs` holds what is to be done, and dead letters; `job_history` what ended; the view
//! `all_jobs` shows both.

mod claim;
mod due;
mod enqueue;
mod finish;
mod history;
mod lease;
mod manage;

use purlin_domain::{
    Json, Timestamp,
    filter::{Field, FieldType},
    id::JobId,
    job::{JobState, Queue},
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

pub use claim::{Claimed, Group, InUse, Lease, Look, Want, claim, claim_suspect, has_suspect, in_use, look};
pub use due::{next_due, promote};
pub use enqueue::{Enqueue, bytes, chain_size, insert, insert_leased, is_leasable, queued, unfinished_with_key};
pub use finish::{
    Done, Ended, Fence, Outcome, finish, finish_all, finish_many, headless_lanes, reopen_lane, tell_progress,
};
pub use lease::{Rescued, beat, cancelled_of, end_all_leases, is_suspect, rescue};
pub use manage::{
    Census, Selection, ahead, cancel, census, delete_dead_before, delete_finished_before, discard, erase_payloads,
    head_of_lane, request_cancel, retry, retry_many,
};

use crate::{Bind, Listing, Page, Result, Slice, TenantTx, Weigh, document::Document, value::params};

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
    #[sqlx(try_from = "crate::document::Document")]
    pub payload: Json,
    /// Where it is in its life.
    #[sqlx(try_from = "String")]
    pub state: JobState,
    /// Its share of the workers.
    #[sqlx(try_from = "String")]
    pub queue: Queue,
    /// Within its tenant and queue, 0 comes first and 9 last.
    pub priority: i64,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Runs so far, crashes not counted.
    pub attempt: i64,
    /// Runs at most.
    pub attempts_max: i64,
    /// Runs whose worker died.
    pub crashes: i64,
    /// Why the last run failed.
    pub last_error: Option<String>,
    /// What the job returned.
    #[sqlx(try_from = "crate::document::MaybeDocument")]
    pub result: Option<Json>,
    /// How far it is, 0 to 100.
    pub progress: Option<i64>,
    /// What it says of that.
    pub progress_message: Option<String>,
    /// The event it delivers.
    pub event_id: Option<Uuid>,
    /// Its unique key.
    pub unique_key: Option<String>,
    /// Jobs with the same one run one after the other.
    pub ordering_key: Option<String>,
    /// The schedule that made it.
    pub schedule_id: Option<Uuid>,
    /// The webhook it delivers to.
    pub webhook_id: Option<Uuid>,
    /// The user whose request led to it.
    pub caused_by: Option<Uuid>,
    /// The span that caused it, as W3C Trace Context writes it.
    pub traceparent: Option<String>,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When somebody asked to cancel it while it ran.
    pub cancel_at: Option<Timestamp>,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
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
    /// Its share of the workers.
    #[sqlx(try_from = "String")]
    pub queue: Queue,
    /// Within its tenant and queue, 0 comes first and 9 last.
    pub priority: i64,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// Runs so far, crashes not counted.
    pub attempt: i64,
    /// Runs at most.
    pub attempts_max: i64,
    /// Runs whose worker died.
    pub crashes: i64,
    /// Why the last run failed.
    pub last_error: Option<String>,
    /// How far it is, 0 to 100.
    pub progress: Option<i64>,
    /// The event it delivers.
    pub event_id: Option<Uuid>,
    /// Jobs with the same one run one after the other.
    pub ordering_key: Option<String>,
    /// The schedule that made it.
    pub schedule_id: Option<Uuid>,
    /// The webhook it delivers to.
    pub webhook_id: Option<Uuid>,
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
    "queue",
    "priority",
    "run_at",
    "attempt",
    "attempts_max",
    "crashes",
    "last_error",
    "progress",
    "event_id",
    "ordering_key",
    "schedule_id",
    "webhook_id",
    "caused_by",
    "finished_at",
    "created_at",
];

/// A job as people see it, of those of the tenant `$1`.
macro_rules! shown {
    ($which:literal) => {
        concat!(
            "SELECT id, kind, plugin, payload, state, queue, priority, run_at, attempt, attempts_max, crashes, last_error, result,
                progress, progress_message, event_id, unique_key, ordering_key, schedule_id, webhook_id, caused_by, traceparent,
                started_at, finished_at, cancel_at, created_at, updated_at
             FROM all_jobs WHERE tenant_id = $1 AND ",
            $which
        )
    };
}

/// The job of this id.
pub async fn by_id(tx: &mut TenantTx, id: JobId) -> Result<Option<Job>> {
    tx.fetch_optional(shown!("id = $2"), params![id]).await
}

/// The newest job of a plugin of this kind.
pub async fn last_of_kind(tx: &mut TenantTx, plugin: &str, kind: &str) -> Result<Option<Job>> {
    tx.fetch_optional(shown!("plugin = $2 AND kind = $3 ORDER BY id DESC LIMIT 1"), params![plugin, kind]).await
}

/// What jobs can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    let filter_only = |name: &str, field_type| Field { sortable: false, ..Field::column(name, field_type) };
    vec![
        Field { sortable: false, ..Field::listed("state", JobState::ALL.map(JobState::as_str)) },
        filter_only("kind", FieldType::Text),
        filter_only("plugin", FieldType::Text),
        Field { sortable: false, ..Field::listed("queue", Queue::ALL.map(Queue::as_str)) },
        filter_only("ordering_key", FieldType::Text).key(),
        filter_only("schedule_id", FieldType::Uuid),
        filter_only("webhook_id", FieldType::Uuid),
        filter_only("event_id", FieldType::Uuid),
        filter_only("caused_by", FieldType::Uuid),
        filter_only("attempt", FieldType::Number),
        filter_only("run_at", FieldType::Timestamp),
        filter_only("created_at", FieldType::Timestamp),
        // Ids grow with time, so this is the order in which jobs were enqueued.
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of jobs.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<JobSummary>> {
    tx.list(&Listing { table: "all_jobs", columns: COLUMNS, scope: Vec::new(), slice }).await
}

/// A page of what was or is to be sent to a webhook.
pub async fn list_of_webhook(tx: &mut TenantTx, webhook: Uuid, slice: &Slice<'_>) -> Result<Page<JobSummary>> {
    let scope = vec![("webhook_id", Some(webhook.bind()))];
    tx.list(&Listing { table: "all_jobs", columns: COLUMNS, scope, slice }).await
}

/// What a job is about.
pub async fn payload_of(tx: &mut TenantTx, id: JobId) -> Result<Option<Json>> {
    let row: Option<(Document,)> =
        tx.fetch_optional("SELECT payload FROM jobs WHERE tenant_id = $1 AND id = $2", params![id]).await?;
    Ok(row.map(|(payload,)| payload.into()))
}
