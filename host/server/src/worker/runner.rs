//! Running claimed jobs, each in a task of its own, on a worker.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use purlin_domain::id::TenantId;
use purlin_service::{
    Platform,
    jobs::{self, Claimed, Fence},
    metrics,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout},
};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    EndedRun, Floor, PAUSE_AFTER_ERROR,
    ack::End,
    held::{Held, Hold, InFlight, Stop},
    upkeep::sure_until,
};
use crate::invoke::{Invoker, RunEnd};

/// How long a suspect has the host to itself, among suspects.
const SUSPECT_ALONE: Duration = Duration::from_secs(10);
/// Between two looks for suspects while there are none.
const SUSPECTS_EVERY: Duration = Duration::from_millis(500);

/// Where claimed jobs are run.
pub(super) struct Runner {
    invoker: Invoker,
    floor: Floor,
    held: Held,
    acks: mpsc::Sender<End>,
    /// The runs; none once no more begin.
    runs: Mutex<Option<JoinSet<()>>>,
}

impl Runner {
    pub(super) fn new(invoker: Invoker, floor: Floor, held: Held, acks: mpsc::Sender<End>) -> Self {
        Self { invoker, floor, held, acks, runs: Mutex::new(Some(JoinSet::new())) }
    }

    pub(super) fn floor(&self) -> &Floor {
        &self.floor
    }

    fn runs(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hold claimed jobs; they wait here for a worker.
    pub(super) fn hold(&self, jobs: Vec<Claimed>) -> Vec<InFlight> {
        self.floor.waiting.fetch_add(jobs.len(), Ordering::AcqRel);
        jobs.into_iter().map(|job| InFlight { hold: self.held.hold(&job), job }).collect()
    }

    /// Give claimed jobs to workers as these get free, until no more are claimed or the host
    /// stops; the claims of those that were not begun.
    pub(super) async fn dispatch(
        self: Arc<Self>,
        mut taken: mpsc::Receiver<Box<InFlight>>,
        mut stop: watch::Receiver<bool>,
    ) -> Vec<Hold> {
        let mut left = Vec::new();
        while let Some(in_flight) = taken.recv().await {
            let worker = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => None,
                worker = Arc::clone(&self.floor.slots).acquire_owned() => worker.ok(),
            };
            let Some(worker) = worker else {
                // What was not begun is for others; what runs may end.
                left.push(in_flight.hold);
                continue;
            };
            self.floor.waiting.fetch_sub(1, Ordering::AcqRel);
            left.extend(Arc::clone(&self).begin(in_flight, worker).map(|in_flight| in_flight.hold));
        }
        left
    }

    /// Begin a run; the job, where none begins any more.
    fn begin(self: Arc<Self>, in_flight: Box<InFlight>, worker: OwnedSemaphorePermit) -> Option<Box<InFlight>> {
        let runner = Arc::clone(&self);
        let mut runs = self.runs();
        let Some(runs) = runs.as_mut() else { return Some(in_flight) };
        while runs.try_join_next().is_some() {}
        runs.spawn(async move {
            runner.run(in_flight).await;
            drop(worker);
        });
        None
    }

    /// Run jobs that are suspected of taking workers down, each as the only suspect here, until the
    /// host stops. One that takes long is not waited for: what dies then is blamed on neither.
    pub(super) async fn run_suspects(
        self: Arc<Self>,
        own: Uuid,
        held_until: watch::Receiver<Instant>,
        mut stop: watch::Receiver<bool>,
    ) {
        let platform = &self.invoker.platform;
        let mut turn = Arc::new(Semaphore::new(1));
        while !*stop.borrow() {
            let next = timeout(SUSPECT_ALONE, Arc::clone(&turn).acquire_owned());
            let permit = tokio::select! {
                permit = next => permit,
                _ = stop.changed() => continue,
            };
            let Ok(Ok(permit)) = permit else {
                turn = Arc::new(Semaphore::new(1));
                continue;
            };
            let is_sure = sure_until(*held_until.borrow()) > Instant::now();
            let claimed = if is_sure { jobs::claim_suspect(platform, own).await } else { Ok(None) };
            let pause = match claimed {
                Ok(Some(job)) => {
                    let hold = self.held.hold(&job);
                    let left = Arc::clone(&self).begin(Box::new(InFlight { hold, job }), permit);
                    if let Some(InFlight { job, .. }) = left.as_deref() {
                        give_back(platform, vec![(job.tenant_id, job.fence())]).await;
                    }
                    continue;
                }
                Ok(None) => SUSPECTS_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "suspects could not be claimed");
                    PAUSE_AFTER_ERROR
                }
            };
            drop(timeout(pause, stop.changed()).await);
        }
    }

    /// Once nothing is dispatched any more, begin no more runs, and wait until all ended; the claims
    /// of those that were not begun. When this is dropped, the runs are stopped.
    pub(super) async fn end(&self, dispatching: &mut JoinHandle<Vec<Hold>>) -> Vec<Hold> {
        let left = dispatching.await.unwrap_or_default();
        let runs = self.runs().take();
        if let Some(mut runs) = runs {
            while runs.join_next().await.is_some() {}
        }
        left
    }

    /// Begin no more runs, and stop those that did not end.
    pub(super) fn stop(&self) {
        drop(self.runs().take());
    }

    /// Run a claimed job until it ended or was stopped.
    async fn run(&self, mut in_flight: Box<InFlight>) {
        let platform = &self.invoker.platform;
        let InFlight { job, hold } = &mut *in_flight;
        let began = Instant::now();
        metrics::began(platform, job);
        let span = tracing::error_span!("run", trace_id = job.trace().id());
        let end = tokio::select! {
            biased;
            why = hold.stopped() => {
                stopped(platform, job, why).await;
                RunEnd::Written
            }
            // On the heap, since the task is moved a few times before it runs.
            end = Box::pin(self.invoker.run(job)).instrument(span) => end,
        };
        let took = began.elapsed();
        metrics::ended(platform, job, took);
        self.floor.end(EndedRun { queue: job.queue, tenant: job.tenant_id, kind: job.kind.clone(), took });
        if let RunEnd::Idle(result) = end {
            // Only when the host is at its end is nobody there to write it.
            drop(self.acks.send((in_flight, result)).await);
        }
    }
}

impl jobs::Run for Runner {
    fn run(self: Arc<Self>, job: Claimed, worker: OwnedSemaphorePermit) -> Option<Claimed> {
        let hold = self.held.hold(&job);
        self.begin(Box::new(InFlight { hold, job }), worker).map(|in_flight| in_flight.job)
    }
}

/// A run was stopped from outside: it is ended, or given back.
async fn stopped(platform: &Platform, job: &Claimed, why: Stop) {
    match why {
        Stop::Lapsed => tracing::warn!(job = %job.id, "stopped: this worker could not prolong its leases"),
        Stop::Suspended => tracing::info!(job = %job.id, "stopped: its tenant was suspended"),
        Stop::Cancelled => {
            tracing::info!(job = %job.id, "stopped: somebody cancelled it");
            if let Err(error) = Box::pin(jobs::finish_cancelled(platform, job)).await {
                tracing::warn!(%error, job = %job.id, "a cancelled job could not be ended; it is when its lease ends");
            }
            return;
        }
    }
    give_back(platform, vec![(job.tenant_id, job.fence())]).await;
}

/// What the host stopped by itself is no crash and no attempt.
pub(super) async fn give_back(platform: &Platform, unfinished: Vec<(TenantId, Fence)>) {
    for (tenant, fence) in unfinished {
        if let Err(error) = Box::pin(jobs::release(platform, tenant, fence, Duration::ZERO)).await {
            tracing::warn!(%error, job = %fence.job, "a job could not be given back; it is when its lease ends");
        }
    }
}
