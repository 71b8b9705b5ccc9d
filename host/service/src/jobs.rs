//! Jobs: what people see of them, and what workers do with them.

mod engine;

use std::sync::Arc;

use purlin_domain::{Json, Timestamp, id::JobId, job::JobState, principal::Principal};
use purlin_store::jobs::{self, Job, JobSummary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use engine::{Assignment, Begun, Work, beat, begin, claim, fail, release, rescue, take_over};
pub use purlin_store::jobs::{Claimed, Fence};

use crate::{
    Platform, Result, ServiceError, catalog,
    list::{ListPage, ListQuery, Prepared},
    unit::{CommitError, Unit},
};

/// A job somebody wants done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// A kind that an enabled plugin declares, for example `inventory.valuation`.
    pub kind: String,
    /// What it is about.
    #[serde(default = "empty")]
    pub payload: Json,
    /// Not before this many milliseconds from now.
    #[serde(default)]
    pub delay_ms: u64,
    /// While an unfinished job of this kind has this key, it is returned instead.
    pub unique_key: Option<String>,
}

fn empty() -> Json {
    json!({})
}

/// How a job is doing.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobStatus {
    /// Its id.
    pub id: JobId,
    /// Where it is in its life.
    pub state: JobState,
    /// Runs so far, crashes not counted.
    pub attempt: i64,
    /// Runs at most.
    pub attempts_max: i64,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// How far it is, 0 to 100.
    pub progress: Option<i64>,
    /// What it says of that.
    pub progress_message: Option<String>,
    /// Why the last run failed.
    pub last_error: Option<String>,
}

impl From<Job> for JobStatus {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            state: job.state,
            attempt: job.attempt,
            attempts_max: job.attempts_max,
            run_at: job.run_at,
            progress: job.progress,
            progress_message: job.progress_message,
            last_error: job.last_error,
        }
    }
}

/// A page of the tenant's jobs, deliveries of events included.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<JobSummary>> {
    let prepared = Prepared::new(platform, principal.tenant, "jobs", &jobs::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = jobs::list(&mut tx, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// One job.
pub async fn get(platform: &Platform, principal: &Principal, id: JobId) -> Result<Job> {
    let mut tx = platform.db.read(principal.tenant).await?;
    jobs::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)
}

/// Enqueue a job of an enabled plugin.
pub async fn enqueue(platform: &Arc<Platform>, principal: &Principal, request: JobRequest) -> Result<Job> {
    let unknown = || ServiceError::invalid("/kind", "undeclared", "no enabled plugin has this kind of job");
    let name = request.kind.split('.').next().unwrap_or_default();
    let mut tx = platform.db.read(principal.tenant).await?;
    let plugin = catalog::enabled_plugin(platform, &mut tx, name).await?.ok_or_else(unknown)?;
    drop(tx);
    let mut reruns = 0;
    loop {
        let mut unit = Unit::for_request(platform, principal);
        let JobRequest { kind, payload, delay_ms, unique_key } = &request;
        let id = unit.enqueue_for(&plugin, kind, payload.clone(), *delay_ms, unique_key.clone()).await?;
        unit.record_enqueue(id, kind);
        // One that was there already is answered as it is; a new one as it begins.
        let job = match unit.new_job(id) {
            Some(job) => job,
            None => get(platform, principal, id).await?,
        };
        unit.answer(serde_json::to_value(&job).map_err(ServiceError::internal)?);
        match unit.commit(None).await {
            Ok(()) => return Ok(job),
            Err(CommitError::Failed(error)) => return Err(error),
            Err(CommitError::LeaseLost | CommitError::Withdrawn) => {
                return Err(ServiceError::internal("a request has no lease to lose"));
            }
            // Another request took the unique key meanwhile: its job is the one to return.
            Err(CommitError::Conflict(_)) if reruns < platform.settings.limits.reruns => reruns += 1,
            Err(CommitError::Conflict(why)) => return Err(ServiceError::Conflict("conflict", why)),
        }
    }
}
