//! Commits of one tenant that come together are made together: while some are being written,
//! the units that end meanwhile gather, and the next commit holds all of them. A busy tenant
//! pays for one transaction where it would for many; others do not wait for it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use purlin_domain::id::TenantId;
use tokio::sync::oneshot;

use super::{
    Key, Unit,
    commit::{Ack, CommitError, Ending, commit},
};
use crate::{Platform, ServiceError};

/// Units of one commit at most.
const TOGETHER_MAX: usize = 64;
/// Commits of one tenant at the same time at most, and units that are worth another one.
const COMMITS_MAX: usize = 2;
const WORTH_ANOTHER: usize = 16;

type Answer = oneshot::Sender<Result<(), CommitError>>;

/// Of each tenant with a commit under way, the units that wait for the next one.
#[derive(Default)]
pub(crate) struct Gathering(Mutex<HashMap<TenantId, Waiting>>);

#[derive(Default)]
struct Waiting {
    units: Vec<(Ending, Answer)>,
    /// How many see to them.
    committing: usize,
}

impl Gathering {
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave a unit to be committed; whether somebody has to see to it.
    fn add(&self, tenant: TenantId, ending: Ending, answer: Answer) -> bool {
        let mut all = self.lock();
        let Waiting { units, committing } = all.entry(tenant).or_default();
        units.push((ending, answer));
        let is_needed = *committing == 0 || (*committing < COMMITS_MAX && units.len() >= WORTH_ANOTHER);
        *committing += usize::from(is_needed);
        is_needed
    }

    /// The units of the next commit, none of which touches what another writes or locks; none when
    /// nothing waits, and then whoever asked sees to no more.
    fn next(&self, tenant: TenantId) -> Vec<(Ending, Answer)> {
        let mut all = self.lock();
        let Some(Waiting { units, committing }) = all.get_mut(&tenant) else { return Vec::new() };
        // Whoever hung up was stopped: what it did must not count.
        units.retain(|(_, answer)| !answer.is_closed());
        let (mut touched, mut written): (HashSet<Key>, HashSet<Key>) = Default::default();
        let mut locked = HashSet::new();
        let mut group = Vec::new();
        let mut left = Vec::new();
        for (ending, answer) in units.drain(..) {
            let unit = &ending.unit;
            let has_lane = ending.ack.as_ref().is_some_and(|ack| ack.lane.is_some());
            let is_apart = unit.touched().all(|key| !written.contains(key))
                && unit.writes.keys().all(|key| !touched.contains(key))
                && unit.locked().all(|key| !locked.contains(key));
            if group.is_empty() || (group.len() < TOGETHER_MAX && is_apart && !has_lane) {
                touched.extend(unit.touched().cloned());
                written.extend(unit.writes.keys().cloned());
                locked.extend(unit.locked().cloned());
                group.push((ending, answer));
            } else {
                left.push((ending, answer));
            }
        }
        *units = left;
        if group.is_empty() {
            *committing = committing.saturating_sub(1);
            if *committing == 0 {
                all.remove(&tenant);
            }
        }
        group
    }
}

impl Unit {
    /// The same as [`commit`](Self::commit), with whatever else of the tenant ends at the
    /// same time. Dropped before it returns, it may have committed or not.
    pub async fn commit_with_others(self: Box<Self>, ack: Ack) -> Result<(), CommitError> {
        let (platform, tenant) = (Arc::clone(&self.platform), self.principal.tenant);
        let (answer, answered) = oneshot::channel();
        if platform.gathering.add(tenant, Ending { unit: self, ack: Some(ack) }, answer) {
            tokio::spawn(see_to(platform, tenant));
        }
        answered.await.unwrap_or_else(|_| Err(ServiceError::internal("a commit was not seen to").into()))
    }
}

/// Forgets what waits for a tenant when whoever sees to it ends before: whoever waits is told.
struct Seeing<'a> {
    gathering: &'a Gathering,
    tenant: TenantId,
    is_over: bool,
}

impl Drop for Seeing<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.gathering.lock().remove(&self.tenant);
        }
    }
}

/// Commit what gathers of a tenant until nothing does.
async fn see_to(platform: Arc<Platform>, tenant: TenantId) {
    let mut seeing = Seeing { gathering: &platform.gathering, tenant, is_over: false };
    loop {
        let group = platform.gathering.next(tenant);
        if group.is_empty() {
            seeing.is_over = true;
            return;
        }
        let (endings, answers): (Vec<Ending>, Vec<Answer>) = group.into_iter().unzip();
        match commit(&endings).await {
            Ok(()) => answers.into_iter().for_each(|answer| drop(answer.send(Ok(())))),
            Err(error) if endings.len() == 1 => {
                answers.into_iter().next().map(|answer| answer.send(Err(error)));
            }
            // One of them is the cause; each by itself, the others do not suffer from it.
            Err(error) => {
                tracing::debug!(%error, count = endings.len(), "units could not be committed together");
                for (ending, answer) in endings.into_iter().zip(answers) {
                    let done = commit(&[ending]).await;
                    drop(answer.send(done));
                }
            }
        }
    }
}
