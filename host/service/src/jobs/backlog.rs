//! How many jobs of a tenant wait, for its plan's ceiling.
//!
//! They are counted when they were not for a few seconds, no further than the ceiling, and
//! what this host adds meanwhile is added; so the ceiling may be passed by what other hosts
//! enqueue within those seconds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use purlin_domain::{id::TenantId, limits::Limit};
use purlin_store::{jobs, tenants};

use crate::{Platform, Result, ServiceError};

const COUNTED_EVERY: Duration = Duration::from_secs(5);
const TENANTS_MAX: u64 = 100_000;

struct Counted {
    jobs: AtomicI64,
    plan: String,
    /// None when there is no ceiling.
    jobs_max: Option<i64>,
}

pub(crate) struct BacklogMeter(Cache<TenantId, Arc<Counted>>);

impl BacklogMeter {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(TENANTS_MAX).time_to_live(COUNTED_EVERY).build())
    }
}

/// The plan of a tenant whose jobs were counted lately.
pub(crate) fn plan(platform: &Platform, tenant: TenantId) -> Option<String> {
    Some(platform.backlog.0.get(&tenant)?.plan.clone())
}

/// Refuse one more job than the tenant's plan lets wait.
pub(crate) async fn grow(platform: &Platform, tenant: TenantId) -> Result<()> {
    grow_by(platform, tenant, 1).await
}

/// Refuse so many more jobs where not all of them may wait.
pub(crate) async fn grow_by(platform: &Platform, tenant: TenantId, jobs: usize) -> Result<()> {
    let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
    let counted = match platform.backlog.0.get(&tenant) {
        Some(counted) => counted,
        None => count(platform, tenant).await?,
    };
    let Some(jobs_max) = counted.jobs_max else { return Ok(()) };
    if counted.jobs.fetch_add(jobs, Ordering::AcqRel).saturating_add(jobs) > jobs_max {
        counted.jobs.fetch_sub(jobs, Ordering::AcqRel);
        return Err(ServiceError::Limit(Limit::QueuedJobs));
    }
    Ok(())
}

async fn count(platform: &Platform, tenant: TenantId) -> Result<Arc<Counted>> {
    let mut tx = platform.db.read(tenant).await?;
    let plan = tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)?.plan;
    let ceiling = platform.settings.plans.get(&plan).queued_jobs_max;
    let jobs_max = ceiling.map(|max| i64::try_from(max).unwrap_or(i64::MAX));
    let waiting = match jobs_max {
        Some(max) => jobs::queued(&mut tx, max).await?,
        None => 0,
    };
    let counted = Arc::new(Counted { jobs: AtomicI64::new(waiting), plan, jobs_max });
    platform.backlog.0.insert(tenant, Arc::clone(&counted));
    Ok(counted)
}
