//! The bell of the claimer of a process: somebody may have work for it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use purlin_store::jobs::{Claimed, Group, Lease};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Groups remembered at most, beyond which it was rung for any.
const GROUPS_MAX: usize = 64;

/// Rings when jobs were added or may run now.
#[derive(Default)]
pub struct Bell {
    rung: Notify,
    heard: Mutex<Heard>,
}

/// For whom it was rung since the claimer last asked.
#[derive(Default)]
struct Heard {
    any: bool,
    groups: Vec<Group>,
    offer: Option<Offer>,
}

/// What a claimer that has nothing to do offers those who add jobs: they may add them as
/// leased by it and have its workers run them at once, which saves the claim.
#[derive(Clone)]
pub struct Offer {
    /// The lease.
    pub lease: Lease,
    /// Its workers without a job.
    pub free: Arc<Semaphore>,
    /// Who runs them.
    pub runner: Arc<dyn Run>,
    /// Until then.
    pub until: Instant,
}

/// Whoever runs the jobs of a process.
pub trait Run: Send + Sync {
    /// Run a leased job on a worker that was kept for it; the job, where nothing begins any more.
    fn run(self: Arc<Self>, job: Claimed, worker: OwnedSemaphorePermit) -> Option<Claimed>;
}

/// An offer that was taken up: a worker is kept for each job.
pub(crate) struct Accepted {
    pub(crate) lease: Lease,
    pub(crate) workers: OwnedSemaphorePermit,
    pub(crate) runner: Arc<dyn Run>,
    /// The plan of whose jobs they are.
    pub(crate) plan: String,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Any jobs may be due.
    pub fn ring(&self) {
        self.lock().any = true;
        self.rung.notify_one();
    }

    /// This process added jobs of these groups, and they are due.
    pub(crate) fn ring_for(&self, groups: Vec<Group>) {
        let mut heard = self.lock();
        for group in groups {
            if heard.groups.len() >= GROUPS_MAX {
                heard.any = true;
            } else if !heard.groups.contains(&group) {
                heard.groups.push(group);
            }
        }
        drop(heard);
        self.rung.notify_one();
    }

    /// Returns when it rings, or has since the last time.
    pub async fn rung(&self) {
        self.rung.notified().await;
    }

    /// The groups that it was rung for, unless it may be any.
    pub(crate) fn take(&self) -> Option<Vec<Group>> {
        let mut heard = self.lock();
        let (any, groups) = (std::mem::take(&mut heard.any), std::mem::take(&mut heard.groups));
        (!any && !groups.is_empty()).then_some(groups)
    }

    /// Offer this, until it is withdrawn.
    pub fn offer(&self, offer: Offer) {
        self.lock().offer = Some(offer);
    }

    /// Offer nothing more.
    pub fn withdraw(&self) {
        self.lock().offer = None;
    }

    /// Take up the offer for so many jobs, where it holds and there are workers for all of them.
    pub(crate) fn accept(&self, count: usize, plan: String) -> Option<Accepted> {
        let offer = self.lock().offer.clone().filter(|offer| Instant::now() < offer.until)?;
        let workers = offer.free.try_acquire_many_owned(u32::try_from(count).ok()?).ok()?;
        Some(Accepted { lease: offer.lease, workers, runner: offer.runner, plan })
    }
}
