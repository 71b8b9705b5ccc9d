//! One line on why a job does not run.

use chrono::TimeDelta;
use purlin_domain::{
    id::{JobId, TenantId},
    job::{CORE, JobState},
    tenant::TenantStatus,
};
use purlin_store::{
    TenantTx, installations,
    job_pauses::{self, EVERY, JobPause},
    jobs::{self, Job},
    tenants, workers,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Platform, Result, ServiceError};

/// A worker that was not heard of for this long is taken for gone.
const HEARD_OF: TimeDelta = TimeDelta::seconds(60);

/// Why a job does not run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Why {
    /// The job.
    pub id: JobId,
    /// Where it is in its life.
    pub state: JobState,
    /// A stable name of the reason: `scheduled`, `suspect`, `behind`, `suspended`, `disabled`, `paused`,
    /// `no_worker`, `plan`, `queued`, `running`, `cancelling`, `ended`, `dead`.
    pub code: &'static str,
    /// The reason, in a line.
    pub why: String,
}

/// Why this job does not run.
pub async fn why(platform: &Platform, tenant: TenantId, id: JobId) -> Result<Why> {
    let mut tx = platform.db.read(tenant).await?;
    let job = jobs::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)?;
    let (code, why) = match job.state {
        JobState::Scheduled if jobs::is_suspect(&mut tx, id).await? => ("suspect", suspect(&job)),
        JobState::Scheduled => scheduled(&job),
        JobState::Waiting => behind(&mut tx, &job).await?,
        JobState::Ready => ready(platform, &mut tx, &job).await?,
        JobState::Running if job.cancel_at.is_some() => {
            ("cancelling", "somebody cancelled it; its worker stops it within seconds".to_owned())
        }
        JobState::Running => ("running", "it runs".to_owned()),
        JobState::Succeeded => ("ended", "it ended well".to_owned()),
        JobState::Cancelled => ("ended", "somebody cancelled it".to_owned()),
        JobState::Dead => ("dead", dead(&job)),
    };
    Ok(Why { id, state: job.state, code, why })
}

fn scheduled(job: &Job) -> (&'static str, String) {
    let at = job.run_at.format("%Y-%m-%dT%H:%M:%SZ");
    let why = match &job.last_error {
        Some(error) => format!("it failed ({error}) and is tried again at {at}, attempt {}", job.attempt + 1),
        None => format!("its time is {at}"),
    };
    ("scheduled", why)
}

fn suspect(job: &Job) -> String {
    let at = job.run_at.format("%Y-%m-%dT%H:%M:%SZ");
    format!("its worker died while it ran; such jobs run one at a time, this one not before {at}")
}

fn dead(job: &Job) -> String {
    let error = job.last_error.as_deref().unwrap_or("no reason was kept");
    format!(
        "it is a dead letter after {} attempts and {} crashes: {error}; retry it or discard it",
        job.attempt, job.crashes
    )
}

async fn behind(tx: &mut TenantTx, job: &Job) -> Result<(&'static str, String)> {
    let key = job.ordering_key.clone().unwrap_or_default();
    let why = match jobs::head_of_lane(tx, &key).await? {
        Some((head, state)) => format!("it waits behind job {head} with the same ordering key, which is {state}"),
        None => "it waits behind others with the same ordering key".to_owned(),
    };
    Ok(("behind", why))
}

async fn ready(platform: &Platform, tx: &mut TenantTx, job: &Job) -> Result<(&'static str, String)> {
    let tenant = tenants::own(tx).await?.ok_or(ServiceError::NotFound)?;
    if tenant.status != TenantStatus::Active {
        return Ok(("suspended", "its tenant is suspended".to_owned()));
    }
    if job.plugin != CORE {
        let installation = installations::by_plugin(tx, &job.plugin).await?;
        if let Some(reason) = installation.as_ref().and_then(|i| i.reason.as_ref().filter(|_| i.state == "paused")) {
            return Ok(("paused", format!("the host paused the plugin {}: {reason}", job.plugin)));
        }
        if installation.is_none_or(|i| i.state != "enabled") {
            return Ok(("disabled", format!("the plugin {} is not enabled", job.plugin)));
        }
    }
    let meets =
        |p: &&JobPause| (p.queue == EVERY || p.queue == job.queue.as_str()) && (p.kind == EVERY || p.kind == job.kind);
    let own = job_pauses::list(tx).await?;
    let mut across = platform.db.platform_read().await?;
    let everywhere = job_pauses::list_platform(&mut across).await?;
    if let Some(pause) = own.iter().chain(&everywhere).find(meets) {
        let (queue, kind, reason) = (&pause.queue, &pause.kind, &pause.reason);
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        return Ok(("paused", format!("queue {queue}, kind {kind} is paused{because}")));
    }
    let plan = platform.settings.plans.get(&tenant.plan);
    if plan.invocations_per_minute_max == Some(0) {
        return Ok(("plan", format!("the plan {} runs no jobs", tenant.plan)));
    }
    if job.plugin != CORE && platform.resting.rests(tenant.id) {
        return Ok(("plan", "the tenant had its invocations of this minute".to_owned()));
    }
    let heard = workers::list(&mut across, platform.now() - HEARD_OF).await?;
    if heard.is_empty() {
        return Ok(("no_worker", "no worker was heard of for a minute; start one".to_owned()));
    }
    let in_use = jobs::in_use(&mut across).await?;
    let of_tenant: i64 = in_use.iter().filter(|row| row.tenant_id == tenant.id).map(|row| row.leases).sum();
    if let Some(max) = plan.jobs_at_once_max.filter(|max| of_tenant >= i64::try_from(*max).unwrap_or(i64::MAX)) {
        return Ok(("plan", format!("{of_tenant} jobs of the tenant run, and its plan lets {max} run at once")));
    }
    let (slots, all): (i64, i64) = (heard.iter().map(|w| w.slots).sum(), in_use.iter().map(|row| row.leases).sum());
    let ahead = jobs::ahead(tx, job.queue, job.priority, job.run_at, job.id).await?;
    Ok((
        "queued",
        format!(
            "{ahead} jobs of the tenant come before it in the queue {}; {all} jobs are leased, {slots} workers run",
            job.queue.as_str()
        ),
    ))
}
