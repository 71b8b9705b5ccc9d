//! Jobs that are added as leased: by a commit on the host whose workers have nothing to do.

use std::{collections::HashMap, sync::Arc, time::Duration};

use purlin_domain::{
    Timestamp,
    id::{JobId, TenantId},
    job::CORE,
};
use purlin_store::{
    StoreError, TenantTx,
    jobs::{Claimed, Enqueue, insert_leased, is_leasable},
};
use tokio::sync::oneshot;
use tracing::Instrument;

use super::{backlog, bell::Accepted, engine::release};
use crate::{Platform, Result, ServiceError};

/// Take up what the claimer offers for all of these jobs, where nothing of its tenant says
/// that they are to wait for their turn.
pub(crate) fn accept(platform: &Platform, tenant: TenantId, jobs: &[Enqueue<'_>], now: Timestamp) -> Option<Accepted> {
    if platform.db.is_embedded() || jobs.is_empty() || !jobs.iter().all(|e| is_leasable(e.job, now)) {
        return None;
    }
    let plan = backlog::plan(platform, tenant)?;
    let has_ceiling = platform.settings.plans.get(&plan).jobs_at_once_max.is_some();
    let rests = jobs.iter().any(|e| e.plugin != CORE) && platform.resting.rests(tenant);
    if has_ceiling || rests { None } else { platform.bell.accept(jobs.len(), plan) }
}

/// Add jobs as leased, commit, and run them; how many that were. It goes on when whoever asked
/// hangs up: a job that is leased and that no worker has would wait for its lease.
pub(crate) async fn add(
    platform: &Arc<Platform>,
    tx: TenantTx,
    jobs: &[Enqueue<'_>],
    accepted: Accepted,
    now: Timestamp,
) -> Result<std::result::Result<usize, StoreError>> {
    let own = |e: &Enqueue<'_>| (e.job.clone(), e.plugin.to_owned(), e.event, e.cause.clone(), e.by);
    let own: Vec<_> = jobs.iter().map(own).collect();
    let platform = Arc::clone(platform);
    let (tell, told) = oneshot::channel();
    let adding = async move {
        let jobs: Vec<Enqueue<'_>> = own
            .iter()
            .map(|(job, plugin, event, cause, by)| Enqueue { job, plugin, event: *event, cause, by: *by })
            .collect();
        let tenant = tx.tenant();
        let added = insert_leased(tx, &jobs, accepted.lease, now).await;
        let (count, leased) = match added {
            Ok(leased) => (Ok(leased.len()), leased),
            Err(error) => (Err(error), Vec::new()),
        };
        // Who asked may have hung up. The runs are spawned after whoever asked was woken, so that
        // this thread begins with them.
        let _ = tell.send(count);
        run(&platform, tenant, &jobs, accepted, &leased).await;
    };
    tokio::spawn(adding.in_current_span());
    told.await.map_err(ServiceError::internal)
}

/// Have the workers that were kept for them run the jobs that were added as leased.
async fn run(
    platform: &Platform,
    tenant: TenantId,
    jobs: &[Enqueue<'_>],
    accepted: Accepted,
    leased: &[(JobId, String)],
) {
    let Accepted { lease, mut workers, runner, plan } = accepted;
    let places: HashMap<JobId, &String> = leased.iter().map(|(id, place)| (*id, place)).collect();
    for job in jobs {
        let (Some(place), Some(worker)) = (places.get(&job.job.id), workers.split(1)) else { continue };
        let claimed = Claimed { plan: plan.clone(), ..Claimed::of(tenant, job, lease, (*place).clone()) };
        let Some(left) = Arc::clone(&runner).run(claimed, worker) else { continue };
        if let Err(error) = Box::pin(release(platform, tenant, left.fence(), Duration::ZERO)).await {
            tracing::warn!(%error, job = %left.id, "a job could not be given back; it is when its lease ends");
        }
    }
}
