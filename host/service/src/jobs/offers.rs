//! Jobs that are added as leased: by a commit on the host whose workers have nothing to do.

use std::{collections::HashMap, sync::Arc, time::Duration};

use purlin_domain::{
    Timestamp,
    id::{JobId, TenantId},
    job::CORE,
};
use purlin_store::{
    StoreError, TenantTx,
    jobs::{Claimed, Enqueue, Lease, insert_leased, is_leasable},
};
use tracing::Instrument;

use super::{backlog, engine::release};
use crate::{Platform, Result, ServiceError};

/// Take up what the claimer offers for all of these jobs, where nothing of its tenant says
/// that they are to wait for their turn.
pub(crate) fn accept(platform: &Platform, tenant: TenantId, jobs: &[Enqueue<'_>], now: Timestamp) -> Option<Lease> {
    if platform.db.is_embedded() || jobs.is_empty() || !jobs.iter().all(|e| is_leasable(e.job, now)) {
        return None;
    }
    let plan = backlog::plan(platform, tenant)?;
    let has_ceiling = platform.settings.plans.get(&plan).jobs_at_once_max.is_some();
    let rests = jobs.iter().any(|e| e.plugin != CORE) && platform.resting.rests(tenant);
    if has_ceiling || rests { None } else { platform.bell.accept(jobs.len()) }
}

/// Add jobs as leased, commit, and give them to the workers; how many that were. It goes on when
/// whoever asked hangs up: a job that is leased and that no worker has would wait for its lease.
pub(crate) async fn add(
    platform: &Arc<Platform>,
    tx: TenantTx,
    jobs: &[Enqueue<'_>],
    lease: Lease,
    now: Timestamp,
) -> Result<std::result::Result<usize, StoreError>> {
    let own = |e: &Enqueue<'_>| (e.job.clone(), e.plugin.to_owned(), e.event, e.cause.clone(), e.by);
    let own: Vec<_> = jobs.iter().map(own).collect();
    let platform = Arc::clone(platform);
    let adding = async move {
        let jobs: Vec<Enqueue<'_>> = own
            .iter()
            .map(|(job, plugin, event, cause, by)| Enqueue { job, plugin, event: *event, cause, by: *by })
            .collect();
        let tenant = tx.tenant();
        let leased = insert_leased(tx, &jobs, lease, now).await?;
        hand(&platform, tenant, &jobs, lease, &leased).await;
        Ok(leased.len())
    };
    tokio::spawn(adding.in_current_span()).await.map_err(ServiceError::internal)
}

/// Give the workers the jobs that were added as leased, and where their rows lie.
async fn hand(platform: &Platform, tenant: TenantId, jobs: &[Enqueue<'_>], lease: Lease, leased: &[(JobId, String)]) {
    let plan = backlog::plan(platform, tenant).unwrap_or_default();
    let places: HashMap<JobId, &String> = leased.iter().map(|(id, place)| (*id, place)).collect();
    let claimed = |e: &Enqueue<'_>| {
        let place = (*places.get(&e.job.id)?).clone();
        Some(Claimed { plan: plan.clone(), ..Claimed::of(tenant, e, lease, place) })
    };
    for left in platform.bell.hand(jobs.iter().filter_map(claimed).collect()) {
        if let Err(error) = Box::pin(release(platform, tenant, left.fence(), Duration::ZERO)).await {
            tracing::warn!(%error, job = %left.id, "a job could not be given back; it is when its lease ends");
        }
    }
}
