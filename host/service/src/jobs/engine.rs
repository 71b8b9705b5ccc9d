//! The worker's side of jobs: claim, beat, rescue, begin, fail. Finishing well is the
//! commit of the unit of work.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use purlin_domain::{
    access::{Authority, PermissionSet},
    audit::Origin,
    event::{Cause, Event},
    id::{EventId, TenantId, UserId},
    job::{DELIVERY, Failure, JobRun, backoff},
    limits::{CRASHES_MAX, GuestLimits},
    log::escape_control,
    principal::{Actor, Principal},
};
use purlin_store::{
    events,
    jobs::{self, Claimed, Fence, Outcome},
    tenants,
};
use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError, catalog,
    catalog::Enabled,
    limiter::{self, Rate},
    unit::{Ack, Unit},
};

/// Characters of a stored error at most.
const ERROR_CHARS_MAX: usize = 2_000;

/// Lease up to `count` due jobs for this worker.
pub async fn claim(platform: &Platform, worker: Uuid, count: u32) -> Result<Vec<Claimed>> {
    let now = platform.now();
    let mut tx = platform.db.platform().await?;
    let claimed = jobs::claim(&mut tx, worker, count, now, now + platform.settings.lease).await?;
    tx.commit().await?;
    Ok(claimed)
}

/// Prolong the leases of jobs that this worker runs.
pub async fn beat(platform: &Platform, held: &[(TenantId, Fence)]) -> Result<()> {
    if held.is_empty() {
        return Ok(());
    }
    let now = platform.now();
    let mut tx = platform.db.platform().await?;
    jobs::beat(&mut tx, held, now, now + platform.settings.lease).await?;
    Ok(tx.commit().await?)
}

/// Take jobs back from workers that stopped beating; how many.
pub async fn rescue(platform: &Platform) -> Result<u64> {
    let mut tx = platform.db.platform().await?;
    let rescued = jobs::rescue(&mut tx, platform.now(), CRASHES_MAX).await?;
    tx.commit().await?;
    Ok(rescued)
}

/// At the start of a host that has the database to itself: whoever held a lease is gone.
pub async fn take_over(platform: &Platform) -> Result<u64> {
    let now = platform.now();
    let mut tx = platform.db.platform().await?;
    jobs::end_all_leases(&mut tx, now).await?;
    let rescued = jobs::rescue(&mut tx, now + TimeDelta::microseconds(1), CRASHES_MAX).await?;
    tx.commit().await?;
    Ok(rescued)
}

/// What a claimed job asks of its plugin.
#[derive(Clone, Debug)]
pub enum Work {
    /// Handle this event.
    Event(Event),
    /// Run this job.
    Job(JobRun),
}

/// A claimed job with everything needed to run it.
pub struct Assignment {
    /// The claim.
    pub claimed: Claimed,
    /// What to do.
    pub work: Work,
    /// The plugin, in the version that is enabled now.
    pub plugin: Enabled,
    /// What bounds the guest.
    pub limits: GuestLimits,
    plan: PermissionSet,
}

/// Whether a claimed job can run now.
pub enum Begun {
    /// It can, with this.
    Ready(Box<Assignment>),
    /// It goes back to wait this long: its plugin was disabled meanwhile, or the tenant has
    /// had its invocations of this minute.
    Later(Duration),
}

/// Gather what a claimed job needs.
pub async fn begin(platform: &Platform, claimed: Claimed) -> Result<Begun> {
    let mut tx = platform.db.read(claimed.tenant_id).await?;
    let plugin = catalog::enabled_plugin(platform, &mut tx, &claimed.plugin).await?;
    let Some(plugin) = plugin else { return Ok(Begun::Later(Duration::ZERO)) };
    let tenant = tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)?;
    let plan = platform.settings.plans.get(&tenant.plan);
    if plan.invocations_per_minute_max == Some(0) {
        return Ok(Begun::Later(Duration::from_secs(60)));
    }
    if let Some(ceiling) = plan.invocations_per_minute_max {
        let rate = Rate::per_minute("invocations", u32::try_from(ceiling).unwrap_or(u32::MAX));
        if let Err(ServiceError::TooMany { retry_after, .. }) =
            limiter::limit(platform, rate, &claimed.tenant_id.to_string()).await
        {
            return Ok(Begun::Later(retry_after));
        }
    }
    let number = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    let (work, limits) = if claimed.kind == DELIVERY {
        let id = claimed.event_id.map(EventId).ok_or_else(|| ServiceError::internal("a delivery has no event"))?;
        let event = events::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)?;
        (Work::Event(event), GuestLimits::EVENT)
    } else {
        let kind = plugin.loaded.descriptor.job(&claimed.kind);
        let kind = kind.ok_or_else(|| {
            ServiceError::Internal(format!(
                "{} {} has no job kind `{}`",
                claimed.plugin, plugin.installation.version, claimed.kind
            ))
        })?;
        let run = JobRun {
            id: claimed.id,
            kind: claimed.kind.clone(),
            payload: claimed.payload.clone(),
            attempt: number(claimed.attempt),
            attempts_max: number(claimed.attempts_max),
        };
        (Work::Job(run), GuestLimits::job(Duration::from_millis(kind.timeout_ms)))
    };
    Ok(Begun::Ready(Box::new(Assignment { claimed, work, plugin, limits, plan: plan.permissions })))
}

impl Assignment {
    /// A fresh unit of work for one run of it.
    pub fn unit(&self, platform: &Arc<Platform>) -> Unit {
        let user = self.claimed.caused_by.map(UserId);
        let principal = Principal {
            tenant: self.claimed.tenant_id,
            actor: Actor::Plugin(self.claimed.plugin.clone()),
            on_behalf_of: user,
            authority: Authority {
                user: None,
                scopes: None,
                grants: Some(self.plugin.grants()),
                plan: self.plan.clone(),
            },
            session: None,
            operator: false,
            idempotency: None,
            origin: Origin { request_id: self.claimed.id.to_string(), ip: None, user_agent: None },
        };
        let cause = Cause {
            user,
            event: self.claimed.event_id.map(EventId),
            root: self.claimed.root_id,
            depth: u32::try_from(self.claimed.depth).unwrap_or(u32::MAX).saturating_add(1),
        };
        Unit::for_invocation(platform, principal, cause, self.plugin.clone())
    }

    /// The acknowledgement of this claim.
    pub fn ack(&self, result: Option<purlin_domain::Json>) -> Ack {
        Ack { fence: self.claimed.fence(), result }
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
    finish(platform, claimed.tenant_id, claimed.fence(), &outcome).await
}

/// Give a job back that could not run now, as when its plugin was disabled between the
/// claim and the run, or the host stops; it waits this long. No attempt is used up. Whether the claim still held.
pub async fn release(platform: &Platform, tenant: TenantId, fence: Fence, pause: Duration) -> Result<bool> {
    finish(platform, tenant, fence, &Outcome::Released { run_at: platform.now() + pause }).await
}

async fn finish(platform: &Platform, tenant: TenantId, fence: Fence, outcome: &Outcome) -> Result<bool> {
    let mut tx = platform.db.write(tenant).await?;
    let held = jobs::finish(&mut tx, fence, outcome, platform.now()).await?;
    tx.commit().await?;
    Ok(held)
}
