//! Jobs: what people see of them and do with them, and what workers do.

pub(crate) mod backlog;
mod bell;
pub(crate) mod chains;
mod claimer;
mod engine;
mod manage;
pub(crate) mod offers;
mod resting;
mod running;
mod why;

use std::sync::Arc;

use purlin_domain::{
    Json, Timestamp,
    id::JobId,
    job::{CORE, JobOptions, JobState, NewJob, Queue},
    principal::Principal,
};
use purlin_store::jobs::{self, Job, JobSummary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use backlog::BacklogMeter;
pub use bell::{Bell, Offer, Run};
pub(crate) use chains::ChainMeter;
pub use claimer::{Claimer, Load, Taken, bring_events};
pub use engine::{
    Assignment, Begun, Work, acknowledge, beat, begin, cancelled_of, claim_suspect, complete, fail, finish_cancelled,
    leave, promote, release, rescue, succeed, take_over,
};
pub use manage::{
    NewPause, Retried, RetryMany, cancel, discard, pause, pause_everywhere, paused, paused_everywhere, resume,
    resume_everywhere, retry, retry_many,
};
pub use purlin_store::jobs::{Claimed, Fence};
pub(crate) use resting::Resting;
pub(crate) use running::{Running, RunningPlugins, served};
pub use why::{Why, why};

use crate::{
    Platform, Result, ServiceError,
    list::{ListPage, ListQuery, Prepared},
    native, reports,
    unit::{CommitError, Unit},
};

/// A job somebody wants done.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// A kind that an enabled plugin declares, for example `inventory.valuation`; or one of
    /// the platform's own: `ping`, `generate_report`.
    pub kind: String,
    /// What it is about.
    #[serde(default = "empty")]
    pub payload: Json,
    /// Not before this many milliseconds from now; a year at most.
    #[serde(default)]
    pub delay_ms: u64,
    /// While an unfinished job of this kind has this key, it is returned instead.
    pub unique_key: Option<String>,
    /// Jobs of the same plugin with the same key run one after the other, in the order in
    /// which they were enqueued.
    pub ordering_key: Option<String>,
    /// Its share of the workers; what its kind says when missing.
    pub queue: Option<Queue>,
    /// Within its tenant and queue, 0 comes first and 9 last; 5 when missing.
    pub priority: Option<u8>,
}

impl JobRequest {
    fn options(&self) -> JobOptions {
        JobOptions {
            delay_ms: self.delay_ms,
            unique_key: self.unique_key.clone(),
            ordering_key: self.ordering_key.clone(),
            queue: self.queue,
            priority: self.priority,
        }
    }
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

/// Enqueue a job of an enabled plugin, or of the platform.
pub async fn enqueue(platform: &Arc<Platform>, principal: &Principal, request: &JobRequest) -> Result<Job> {
    let mut reruns = 0;
    loop {
        let mut unit = Unit::for_request(platform, principal);
        let id = add(platform, &mut unit, request).await?;
        // One that was there already is answered as it is; a new one as it begins.
        let job = match unit.new_job(id) {
            Some(job) => job,
            None => get(platform, principal, id).await?,
        };
        unit.answer(serde_json::to_value(&job).map_err(ServiceError::internal)?);
        match unit.commit(None).await {
            Ok(()) => return Ok(job),
            // Another request took the unique key meanwhile: its job is the one to return.
            Err(CommitError::Conflict(_)) if reruns < platform.settings.limits.reruns => reruns += 1,
            Err(error) => return Err(refused(error)),
        }
    }
}

/// Many jobs somebody wants done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobBatch {
    /// At most 100.
    pub jobs: Vec<JobRequest>,
}

/// Jobs that were enqueued.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EnqueuedJobs {
    /// Their ids, in the order asked for.
    pub ids: Vec<JobId>,
}

/// Enqueue many jobs together: all of them, or none.
pub async fn enqueue_many(platform: &Arc<Platform>, principal: &Principal, batch: &JobBatch) -> Result<EnqueuedJobs> {
    let most = platform.settings.limits.jobs;
    if batch.jobs.is_empty() || batch.jobs.len() > most {
        return Err(ServiceError::invalid("/jobs", "length", format!("1 to {most} jobs")));
    }
    let mut reruns = 0;
    loop {
        let mut unit = Unit::for_request(platform, principal);
        let mut ids = Vec::new();
        for (i, request) in batch.jobs.iter().enumerate() {
            ids.push(add(platform, &mut unit, request).await.map_err(|error| error.within(&format!("/jobs/{i}")))?);
        }
        let enqueued = EnqueuedJobs { ids };
        unit.answer(serde_json::to_value(&enqueued).map_err(ServiceError::internal)?);
        match unit.commit(None).await {
            Ok(()) => return Ok(enqueued),
            Err(CommitError::Conflict(_)) if reruns < platform.settings.limits.reruns => reruns += 1,
            Err(error) => return Err(refused(error)),
        }
    }
}

async fn add(platform: &Platform, unit: &mut Unit, request: &JobRequest) -> Result<JobId> {
    let (JobRequest { kind, payload, .. }, options) = (request, &request.options());
    let id = if native::is_open(kind) {
        if let Some(needed) = native::check(kind, payload)? {
            unit.require(&needed.resource, &needed.action)?;
        }
        if kind == reports::KIND {
            reports::check(platform, unit.principal(), payload).await?;
        }
        let job = NewJob::new(platform.id(), kind, payload.clone(), platform.now());
        unit.enqueue_as(CORE, job, options).await?
    } else {
        let unknown = || ServiceError::invalid("/kind", "undeclared", "no enabled plugin has this kind of job");
        let name = kind.split('.').next().unwrap_or_default();
        let running = running::running(platform, unit.principal().tenant, name).await?.ok_or_else(unknown)?;
        unit.enqueue_for(&running.plugin, kind, payload.clone(), options).await?
    };
    unit.record_enqueue(id, kind);
    Ok(id)
}

fn refused(error: CommitError) -> ServiceError {
    match error {
        CommitError::Failed(error) => error,
        CommitError::Conflict(why) => ServiceError::Conflict("conflict", why),
        CommitError::LeaseLost | CommitError::Withdrawn => ServiceError::internal("a request has no lease to lose"),
    }
}
