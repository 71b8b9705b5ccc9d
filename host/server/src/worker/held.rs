//! The claims a process holds, for as long as they wait here, run, or are being acknowledged.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use purlin_domain::id::{JobId, TenantId};
use purlin_service::jobs::{Claimed, Fence};
use tokio::sync::oneshot;

/// Why a run is stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its tenant was suspended.
    Suspended,
    /// Somebody cancelled it.
    Cancelled,
    /// Its lease could not be prolonged.
    Lapsed,
}

/// The claims of this process.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<HashMap<JobId, Claim>>>);

struct Claim {
    tenant: TenantId,
    fence: Fence,
    /// Until it is told to stop.
    stop: Option<oneshot::Sender<Stop>>,
}

/// A claimed job in the hands of this process.
pub(super) struct InFlight {
    pub(super) job: Claimed,
    pub(super) hold: Hold,
}

/// A claim, held until this is dropped.
pub(super) struct Hold {
    held: Held,
    fence: Fence,
    stop: oneshot::Receiver<Stop>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hold a claim.
    pub(super) fn hold(&self, claimed: &Claimed) -> Hold {
        let (stop, stopped) = oneshot::channel();
        let claim = Claim { tenant: claimed.tenant_id, fence: claimed.fence(), stop: Some(stop) };
        self.lock().insert(claimed.id, claim);
        Hold { held: self.clone(), fence: claimed.fence(), stop: stopped }
    }

    /// Stop everything.
    pub(super) fn stop_all(&self) {
        self.lock().values_mut().for_each(|claim| claim.stop(Stop::Lapsed));
    }

    /// Stop what runs for this tenant. One that is being stopped already is left alone.
    pub(super) fn stop_tenant(&self, tenant: TenantId) {
        for claim in self.lock().values_mut().filter(|claim| claim.tenant == tenant) {
            claim.stop(Stop::Suspended);
        }
    }

    /// Stop this job.
    pub(super) fn cancel(&self, job: JobId) {
        if let Some(claim) = self.lock().get_mut(&job) {
            claim.stop(Stop::Cancelled);
        }
    }

    /// Every claim.
    pub(super) fn all(&self) -> Vec<(TenantId, Fence)> {
        self.lock().values().map(|claim| (claim.tenant, claim.fence)).collect()
    }
}

impl Claim {
    /// One that ends at this moment hears nothing any more.
    fn stop(&mut self, why: Stop) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(why);
        }
    }
}

impl Hold {
    /// Returns when the run is to stop, once.
    pub(super) async fn stopped(&mut self) -> Stop {
        match (&mut self.stop).await {
            Ok(stop) => stop,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Hold {
    /// Let go of this claim, not of a later one of the same job.
    fn drop(&mut self) {
        let mut held = self.held.lock();
        if held.get(&self.fence.job).is_some_and(|claim| claim.fence == self.fence) {
            held.remove(&self.fence.job);
        }
    }
}
