//! The bell of the claimer of a process: somebody may have work for it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use purlin_store::jobs::{Claimed, Group, Lease};
use tokio::sync::Notify;

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
    handed: Vec<Claimed>,
    is_closed: bool,
}

/// What a claimer that has nothing to do offers those who add jobs: they may add them as
/// leased by it, which saves the claim.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// The lease.
    pub lease: Lease,
    /// For so many jobs.
    pub places: usize,
    /// Until then.
    pub until: Instant,
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

    /// Whether it was rung for anybody since that was last asked.
    pub fn has_rung(&self) -> bool {
        let heard = self.lock();
        heard.any || !heard.groups.is_empty()
    }

    /// Offer this, until it is withdrawn.
    pub fn offer(&self, offer: Offer) {
        self.lock().offer = Some(offer);
    }

    /// Offer nothing more; the jobs that were added under the offer.
    pub fn withdraw(&self) -> Vec<Claimed> {
        let mut heard = self.lock();
        heard.offer = None;
        std::mem::take(&mut heard.handed)
    }

    /// The same, for good: nobody is there any more to take a job.
    pub fn close(&self) -> Vec<Claimed> {
        self.lock().is_closed = true;
        self.withdraw()
    }

    /// Take up the offer for so many jobs, where it holds.
    pub(crate) fn accept(&self, count: usize) -> Option<Lease> {
        let mut heard = self.lock();
        let offer = heard.offer.as_mut().filter(|offer| count <= offer.places && Instant::now() < offer.until)?;
        offer.places -= count;
        Some(offer.lease)
    }

    /// Hand jobs over that were added as leased; those that nobody is there to take.
    pub(crate) fn hand(&self, jobs: Vec<Claimed>) -> Vec<Claimed> {
        let mut heard = self.lock();
        if heard.is_closed {
            return jobs;
        }
        heard.handed.extend(jobs);
        drop(heard);
        self.rung.notify_one();
        Vec::new()
    }
}
