//! The worker's side of jobs: claim, beat, rescue, begin, fail. Finishing well is the
//! commit of the unit of work.

use std::{sync::Arc, time::Duration};

use purlin_domain::{
    Json, Timestamp,
    audit::Origin,
    event::{Cause, Event},
    guest::Step,
    id::{EventId, JobId, TenantId, UserId},
    job::{DELIVERY, Failure, JobRun, LIFECYCLE, backoff},
    limits::{CRASHES_MAX, GuestLimits},
    log::escape_control,
    principal::{Actor, Principal},
};
use purlin_store::{
    events,
    jobs::{self, Claimed, Done, Fence, Lease, Outcome, Rescued},
    tenants,
    workers::{self, Worker},
};
use uuid::Uuid;

use super::running::{self, Running};
use crate::{
    Platform, Result, ServiceError,
    catalog::Enabled,
    lifecycle,
    metrics::{self, RunOutcome},
    unit::{Ack, Sent, Unit},
};

/// How long a job waits at least that came over its tenant's rate.
const LATER_MIN: Duration = Duration::from_secs(1);
/// The longest, so that another plan is noticed.
const LATER_MAX: Duration = Duration::from_secs(60);

/// Characters of a stored error at most.
const ERROR_CHARS_MAX: usize = 2_000;

/// Prolong the leases of jobs that this worker holds, and say that it runs.
pub async fn beat(platform: &Platform, worker: &Worker, held: &[(TenantId, Fence)]) -> Result<()> {
    let now = platform.now();
    let mut tx = platform.db.engine().await?;
    if !held.is_empty() {
        let lease = Lease { worker: worker.id, length: platform.settings.lease };
        jobs::beat(&mut tx, lease, held, now).await?;
    }
    workers::beat(&mut tx, &Worker { beat_at: now, ..worker.clone() }).await?;
    Ok(tx.commit().await?)
}

/// Say that this worker runs no more.
pub async fn leave(platform: &Platform, worker: Uuid) -> Result<()> {
    let mut tx = platform.db.platform().await?;
    workers::delete(&mut tx, worker).await?;
    Ok(tx.commit().await?)
}

/// Jobs that this worker runs and somebody asked to cancel.
pub async fn cancelled_of(platform: &Platform, worker: Uuid) -> Result<Vec<JobId>> {
    Ok(jobs::cancelled_of(&mut platform.db.platform_read().await?, worker).await?)
}

/// Take jobs back from workers that stopped beating, and those that this one holds no more.
pub async fn rescue(platform: &Platform, own: Uuid, holds: &[JobId]) -> Result<Vec<Rescued>> {
    let mut tx = platform.db.engine().await?;
    let rescued = jobs::rescue(&mut tx, own, holds, platform.now(), CRASHES_MAX).await?;
    tx.commit().await?;
    metrics::rescued(&rescued);
    open_lanes(platform).await?;
    Ok(rescued)
}

/// At the start of a host that has the database to itself: whoever held a lease is gone.
pub async fn take_over(platform: &Platform, own: Uuid) -> Result<usize> {
    let now = platform.now();
    let mut tx = platform.db.platform().await?;
    jobs::end_all_leases(&mut tx, now).await?;
    let mut rescued = Vec::new();
    loop {
        let batch = jobs::rescue(&mut tx, own, &[], now, CRASHES_MAX).await?;
        if batch.is_empty() {
            break;
        }
        rescued.extend(batch);
    }
    tx.commit().await?;
    open_lanes(platform).await?;
    Ok(rescued.len())
}

/// Let whoever waited behind jobs that a rescue made dead letters run; also where whoever
/// made them could not do it any more.
async fn open_lanes(platform: &Platform) -> Result<()> {
    let mut tx = platform.db.engine().await?;
    let lanes = jobs::headless_lanes(&mut tx).await?;
    // On the embedded database it is the one writer, which is needed below.
    drop(tx);
    for (tenant, key) in lanes {
        let mut tx = platform.db.write(tenant).await?;
        jobs::reopen_lane(&mut tx, &key, platform.now()).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Lease the next job that is suspected of taking workers down, where one is due.
pub async fn claim_suspect(platform: &Platform, worker: Uuid) -> Result<Option<Claimed>> {
    let now = platform.now();
    // On the embedded database a claim takes the one writer.
    if !jobs::has_suspect(&mut platform.db.platform_read().await?, now).await? {
        return Ok(None);
    }
    let lease = Lease { worker, length: platform.settings.lease };
    let mut tx = platform.db.engine().await?;
    let mut claimed = jobs::claim_suspect(&mut tx, lease, now).await?;
    tx.commit().await?;
    if let Some(claimed) = &mut claimed {
        let tenant = tenants::own(&mut platform.db.read(claimed.tenant_id).await?).await?;
        claimed.plan = tenant.map(|tenant| tenant.plan).unwrap_or_default();
    }
    Ok(claimed)
}

/// Read what a claimed job is about, where the claim left it out.
pub async fn complete(platform: &Platform, claimed: &mut Claimed) -> Result<()> {
    if claimed.payload.is_none() {
        let mut tx = platform.db.read(claimed.tenant_id).await?;
        claimed.payload = jobs::payload_of(&mut tx, claimed.id).await?;
    }
    Ok(())
}

/// Jobs made ready in one transaction.
const PROMOTED_MAX: u32 = 5_000;

/// Make jobs ready whose time has come; whether there were any, and when the next is due.
pub async fn promote(platform: &Platform) -> Result<(bool, Option<Timestamp>)> {
    let now = platform.now();
    let mut tx = platform.db.engine().await?;
    let next = jobs::next_due(&mut tx).await?;
    if next.is_none_or(|at| at > now) {
        return Ok((false, next));
    }
    let count = jobs::promote(&mut tx, now, PROMOTED_MAX).await?;
    let next = jobs::next_due(&mut tx).await?;
    tx.commit().await?;
    Ok((count > 0, next))
}

/// Write the end of many runs that did nothing else, with what they returned; how many
/// leases were lost.
pub async fn acknowledge(platform: &Platform, ended: &[(&Claimed, Option<&Json>)]) -> Result<usize> {
    let Some((first, _)) = ended.first() else { return Ok(0) };
    let done: Vec<Done<'_>> = ended
        .iter()
        .map(|&(claimed, result)| Done {
            tenant: claimed.tenant_id,
            fence: claimed.fence(),
            place: &claimed.place,
            result,
        })
        .collect();
    let mut tx = platform.db.engine().await?;
    let held = jobs::finish_many(&mut tx, first.worker, &done, platform.now()).await?;
    tx.commit().await?;
    for (claimed, _) in ended {
        metrics::written(platform, claimed, RunOutcome::Succeeded, held.contains(&claimed.id));
    }
    Ok(ended.len() - held.len())
}

/// What a claimed job asks of its plugin.
#[derive(Clone, Debug)]
pub enum Work {
    /// Handle this event.
    Event(Arc<Event>),
    /// Run this job.
    Job(JobRun),
    /// Take this step; it was taken so often before.
    Step(Step, u32),
}

/// A claimed job with everything needed to run it.
pub struct Assignment<'a> {
    /// The claim.
    pub claimed: &'a Claimed,
    /// What to do.
    pub work: Work,
    /// What bounds the guest.
    pub limits: GuestLimits,
    running: Arc<Running>,
    sent: Sent,
}

/// Whether a claimed job can run now.
pub enum Begun<'a> {
    /// It can, with this.
    Ready(Box<Assignment<'a>>),
    /// It goes back to wait this long: its plugin was disabled meanwhile, or the tenant has
    /// had its invocations of this minute.
    Later(Duration),
}

/// Gather what a claimed job needs.
pub async fn begin<'a>(platform: &Platform, claimed: &'a Claimed) -> Result<Begun<'a>> {
    let running = running::running(platform, claimed.tenant_id, &claimed.plugin).await?;
    let Some(running) = running else { return Ok(Begun::Later(Duration::ZERO)) };
    let within = Box::pin(running.within_rate(platform, claimed.tenant_id)).await;
    if let Err(ServiceError::TooMany { retry_after, .. }) = within {
        let pause = retry_after.clamp(LATER_MIN, LATER_MAX);
        // None of its plugins' jobs is claimed meanwhile. Those that were are spread out, so
        // that they do not come back together again and again.
        platform.resting.rest(claimed.tenant_id, pause);
        return Ok(Begun::Later(pause.mul_f64(1.0 + rand::random::<f64>())));
    }
    let number = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    let (work, limits) = if claimed.kind == DELIVERY {
        let event = match &claimed.event {
            Some(event) => Arc::clone(event),
            None => {
                let id = claimed.event_id.map(EventId);
                let id = id.ok_or_else(|| ServiceError::internal("a delivery has no event"))?;
                let mut tx = platform.db.read(claimed.tenant_id).await?;
                Arc::new(events::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)?)
            }
        };
        (Work::Event(event), GuestLimits::EVENT)
    } else if claimed.kind == LIFECYCLE {
        let taken = lifecycle::taken(claimed.payload.as_ref().unwrap_or(&Json::Null))?;
        (Work::Step(taken.step, taken.rounds), GuestLimits::LIFECYCLE)
    } else {
        let kind = running.plugin.loaded.descriptor.job(&claimed.kind);
        let kind = kind.ok_or_else(|| {
            let version = &running.plugin.installation.version;
            ServiceError::Internal(format!("{} {version} has no job kind `{}`", claimed.plugin, claimed.kind))
        })?;
        let run = JobRun {
            id: claimed.id,
            kind: claimed.kind.clone(),
            payload: claimed.payload.clone().unwrap_or_default(),
            attempt: number(claimed.attempt),
            attempts_max: number(claimed.attempts_max),
        };
        (Work::Job(run), GuestLimits::job(Duration::from_millis(kind.timeout_ms)))
    };
    let limits = running.within_plan(limits);
    Ok(Begun::Ready(Box::new(Assignment { claimed, work, limits, running, sent: Sent::default() })))
}

impl Assignment<'_> {
    /// The plugin, in the version that is enabled now.
    pub fn plugin(&self) -> &Enabled {
        &self.running.plugin
    }

    /// A fresh unit of work for one run of it.
    pub fn unit(&self, platform: &Arc<Platform>) -> Unit {
        let user = self.claimed.caused_by.map(UserId);
        let trace = platform.open_trace(Some(self.claimed.trace()));
        let principal = Principal {
            tenant: self.claimed.tenant_id,
            actor: Actor::Plugin(self.claimed.plugin.clone()),
            on_behalf_of: user,
            authority: Arc::clone(&self.running.authority),
            session: None,
            operator: false,
            idempotency: None,
            origin: Origin { request_id: self.claimed.id.to_string(), ip: None, user_agent: None, trace: Some(trace) },
        };
        let cause = Cause {
            user,
            event: self.claimed.event_id.map(EventId),
            root: self.claimed.root_id,
            depth: u32::try_from(self.claimed.depth).unwrap_or(u32::MAX).saturating_add(1),
            trace,
        };
        let plugin = self.running.plugin.clone();
        Unit::for_invocation(platform, principal, cause, plugin, self.claimed.fence(), self.sent.clone())
    }

    /// The acknowledgement of this claim.
    pub fn ack(&self, result: Option<Json>) -> Ack {
        let Claimed { place, ordering_key, .. } = self.claimed;
        Ack { fence: self.claimed.fence(), place: place.clone(), lane: ordering_key.clone(), result }
    }
}

/// Write that a run failed: it waits for its next attempt, or is a dead letter. Whether
/// the claim still held.
pub async fn fail(platform: &Platform, claimed: &Claimed, failure: &Failure) -> Result<bool> {
    let now = platform.now();
    let error: String = escape_control(failure.message()).chars().take(ERROR_CHARS_MAX).collect();
    let spent = claimed.attempt >= claimed.attempts_max;
    let attempt = u32::try_from(claimed.attempt).unwrap_or(u32::MAX);
    let outcome = match failure {
        Failure::Reject(_) => Outcome::Dead { error },
        Failure::Retry(_) | Failure::RetryAfter(..) if spent => Outcome::Dead { error },
        Failure::Retry(_) => Outcome::Retry { run_at: now + backoff(attempt, rand::random()), error },
        Failure::RetryAfter(pause, _) => Outcome::Retry { run_at: now + *pause, error },
    };
    let lane = claimed.ordering_key.as_deref();
    let held = finish(platform, claimed.tenant_id, claimed.fence(), lane, &outcome).await?;
    let outcome = if matches!(outcome, Outcome::Dead { .. }) { RunOutcome::Dead } else { RunOutcome::Retried };
    metrics::written(platform, claimed, outcome, held);
    Ok(held)
}

/// Write that a run ended well and did nothing else. Whether the claim still held.
pub async fn succeed(platform: &Platform, claimed: &Claimed, result: Option<Json>) -> Result<bool> {
    let lane = claimed.ordering_key.as_deref();
    let outcome = Outcome::Succeeded { result, progress: None };
    let held = finish(platform, claimed.tenant_id, claimed.fence(), lane, &outcome).await?;
    metrics::written(platform, claimed, RunOutcome::Succeeded, held);
    Ok(held)
}

/// Write that a run was cancelled. Whether the claim still held.
pub async fn finish_cancelled(platform: &Platform, claimed: &Claimed) -> Result<bool> {
    let lane = claimed.ordering_key.as_deref();
    let held = finish(platform, claimed.tenant_id, claimed.fence(), lane, &Outcome::Cancelled).await?;
    metrics::written(platform, claimed, RunOutcome::Cancelled, held);
    Ok(held)
}

/// Give a job back that could not run now, as when its plugin was disabled between the
/// claim and the run, or the host stops; it waits this long. No attempt is used up. Whether the claim still held.
pub async fn release(platform: &Platform, tenant: TenantId, fence: Fence, pause: Duration) -> Result<bool> {
    finish(platform, tenant, fence, None, &Outcome::Released { run_at: platform.now() + pause }).await
}

async fn finish(
    platform: &Platform,
    tenant: TenantId,
    fence: Fence,
    lane: Option<&str>,
    outcome: &Outcome,
) -> Result<bool> {
    let mut tx = platform.db.write(tenant).await?;
    let held = jobs::finish(&mut tx, fence, lane, outcome, platform.now()).await?;
    tx.commit().await?;
    if matches!(outcome, Outcome::Retry { .. } | Outcome::Released { .. }) {
        platform.scheduled.notify_one();
    } else if lane.is_some() {
        // Whoever was behind it may run.
        platform.wake_workers();
    }
    Ok(held)
}
