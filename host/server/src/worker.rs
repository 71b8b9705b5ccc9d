//! A process that runs jobs: claim, run, acknowledge; and beside them the upkeep.

mod ack;
mod events;
mod held;
mod pace;
mod upkeep;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use purlin_domain::{id::TenantId, job::Queue};
use purlin_service::{
    Platform,
    jobs::{self, Claimed, Claimer, Fence, Load},
    metrics,
    store::workers,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::Instrument;
use uuid::Uuid;

use self::{
    ack::End,
    held::{Held, Hold, InFlight, Stop},
    pace::Pace,
    upkeep::{
        beat, fire_schedules, measure, pass_hints_on, promote, rescue, stop_lapsed, stop_what_must, sure_until, tidy,
    },
};
use crate::invoke::{Invoker, RunEnd};

/// After a claim failed, as when the database restarts.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// While more waits than there are workers, and nearly all of these are busy; and so many
/// times at most, while there is work here for them.
const PAUSE_FOR_MORE: Duration = Duration::from_millis(2);
const PAUSES_MAX: u32 = 10;
/// How long giving back what did not end may take, when the host stops.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Claimed jobs that wait here for a worker, at most. There are many only while all of
/// them are quick.
const WAITING_MAX: usize = 2_048;

/// Runs jobs until told to stop.
pub(crate) struct Worker {
    pub(crate) invoker: Invoker,
    /// This boot of this process; a restart is another.
    pub(crate) incarnation: Uuid,
    /// Jobs at the same time.
    pub(crate) jobs_at_once: u32,
    /// Between two looks when nothing hints at work.
    pub(crate) poll: Duration,
    /// How long running jobs may take to end when the host stops.
    pub(crate) grace: Duration,
}

/// What the claimer hands to the workers, and hears from them.
#[derive(Clone)]
struct Floor {
    slots: Arc<Semaphore>,
    /// Claimed jobs without a worker yet.
    waiting: Arc<AtomicUsize>,
    /// Rings when a job ended.
    ended: Arc<Notify>,
    /// Runs that ended since the claimer last looked.
    runs: Arc<Mutex<Vec<Run>>>,
}

/// A run that ended.
struct Run {
    queue: Queue,
    tenant: TenantId,
    kind: String,
    took: Duration,
}

impl Floor {
    fn end(&self, run: Run) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).push(run);
        self.ended.notify_one();
    }

    fn take_runs(&self) -> Vec<Run> {
        std::mem::take(&mut *self.runs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Worker {
    /// Run until `stop` turns true, then let running jobs end. What does not end in time
    /// is given back, to be run again.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let platform = Arc::clone(&self.invoker.platform);
        let (lease, held_until) = watch::channel(Instant::now() + platform.settings.lease);
        let held = Held::default();
        let mut helpers = JoinSet::new();
        helpers.spawn(beat(Arc::clone(&platform), self.row(), held.clone(), lease));
        helpers.spawn(rescue(Arc::clone(&platform), self.incarnation, held.clone()));
        helpers.spawn(promote(Arc::clone(&platform), self.poll));
        helpers.spawn(fire_schedules(Arc::clone(&platform)));
        helpers.spawn(tidy(Arc::clone(&platform)));
        helpers.spawn(measure(Arc::clone(&platform)));
        helpers.spawn(pass_hints_on(Arc::clone(&platform)));
        helpers.spawn(stop_what_must(Arc::clone(&platform), self.incarnation, held.clone()));
        helpers.spawn(stop_lapsed(held.clone(), held_until.clone()));

        let floor = Floor {
            slots: Arc::new(Semaphore::new(self.jobs_at_once as usize)),
            waiting: Arc::default(),
            ended: Arc::default(),
            runs: Arc::default(),
        };
        let (acks, ends) = mpsc::channel(WAITING_MAX);
        let acknowledging = tokio::spawn(ack::acknowledge(Arc::clone(&platform), ends, Arc::clone(&floor.ended)));
        let (hand, batches) = mpsc::channel(events::BATCHES_MAX);
        let (bring, taken) = mpsc::channel(WAITING_MAX);
        helpers.spawn(events::bring(Arc::clone(&platform), batches, bring));
        let runner = Runner { invoker: self.invoker.clone(), floor: floor.clone(), acks };
        let mut dispatching = tokio::spawn(dispatch(Arc::new(runner), taken, stop.clone()));
        self.claim(&floor, &held, &held_until, &hand, &mut stop).await;
        // Nobody is offered anything from here on. What waits here was not begun; what runs
        // may end.
        let late: Vec<Hold> = platform.bell.close().iter().map(|job| held.hold(job)).collect();
        drop(hand);
        let ended = timeout(self.grace, &mut dispatching).await;
        let mut unfinished = Vec::new();
        if ended.is_err() {
            tracing::warn!("jobs did not end in time; they will be run again");
            // Nothing may go on here that is given to others; who is stopped lets go of its claim.
            unfinished = held.all();
            dispatching.abort();
        }
        let last = async {
            let _ = acknowledging.await;
            // What ended meanwhile is nobody's to give back: the fence tells.
            unfinished.extend(held.all());
            give_back(&platform, unfinished).await;
            drop((late, ended));
        };
        if timeout(LAST_WORDS, last).await.is_err() {
            tracing::warn!("what was left could not be given back; it is when its leases end");
        }
        // The beat goes on until here, so that jobs which are ending keep their leases.
        helpers.shutdown().await;
        if let Err(error) = jobs::leave(&platform, self.incarnation).await {
            tracing::debug!(%error, "a worker could not say that it ended");
        }
    }

    fn row(&self) -> workers::Worker {
        let now = self.invoker.platform.clock.now();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let slots = i64::from(self.jobs_at_once);
        workers::Worker { id: self.incarnation, host, slots, started_at: now, beat_at: now }
    }

    /// Claim until told to stop.
    async fn claim(
        &self,
        floor: &Floor,
        held: &Held,
        held_until: &watch::Receiver<Instant>,
        hand: &mpsc::Sender<Vec<InFlight>>,
        stop: &mut watch::Receiver<bool>,
    ) {
        let platform = &self.invoker.platform;
        let mut claimer = Claimer::new(self.incarnation, platform.settings.lease);
        let (mut are_quick, mut is_more) = (false, false);
        let mut pace = Pace::new();
        while !*stop.borrow() {
            // Also those that came while nobody rested any more.
            if !pass_on(platform.bell.withdraw(), floor, held, hand).await {
                return;
            }
            let runs = floor.take_runs();
            pace.count(runs.len());
            for run in runs {
                claimer.ended(run.queue, run.tenant, &run.kind, run.took);
            }
            let ahead = pace.ahead(WAITING_MAX / 2);
            let mut load = self.load(floor, are_quick, ahead);
            for pauses in 0..PAUSES_MAX {
                let has_work = floor.waiting.load(Ordering::Acquire) > ahead + ahead / 2;
                if !is_more || !(has_work || pauses == 0 && load.free < self.jobs_at_once / 8) {
                    break;
                }
                // More get free in a moment; a claim for each of them would cost as much.
                sleep(PAUSE_FOR_MORE).await;
                load = self.load(floor, are_quick, ahead);
            }
            // What it took now it could not keep, without a beat.
            let is_sure = sure_until(*held_until.borrow()) > Instant::now();
            if load.free == 0 || !is_sure {
                self.wait(platform, floor, For::Room, stop).await;
                continue;
            }
            let taken = match claimer.claim(platform, load).await {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::warn!(%error, "jobs could not be claimed");
                    sleep(PAUSE_AFTER_ERROR).await;
                    continue;
                }
            };
            let count = taken.jobs.len();
            is_more = taken.is_more;
            are_quick = count > self.jobs_at_once as usize;
            if !pass_on(taken.jobs, floor, held, hand).await {
                return;
            }
            if !taken.is_more {
                self.rest(&claimer, floor, held, held_until, hand, stop).await;
            } else if count == 0 {
                self.wait(platform, floor, For::Either, stop).await;
            }
        }
    }

    /// Wait for a hint that there are jobs; meanwhile take those that are added as leased.
    async fn rest(
        &self,
        claimer: &Claimer,
        floor: &Floor,
        held: &Held,
        held_until: &watch::Receiver<Instant>,
        hand: &mpsc::Sender<Vec<InFlight>>,
        stop: &mut watch::Receiver<bool>,
    ) {
        let bell = &self.invoker.platform.bell;
        loop {
            let free = floor.slots.available_permits().saturating_sub(floor.waiting.load(Ordering::Acquire));
            let until = sure_until(*held_until.borrow()).into_std();
            if let Some(offer) = claimer.offer(free, until) {
                bell.offer(offer);
            }
            self.wait(&self.invoker.platform, floor, For::Jobs, stop).await;
            let handed = bell.withdraw();
            let is_alone = !handed.is_empty() && !bell.has_rung();
            if !pass_on(handed, floor, held, hand).await || !is_alone {
                return;
            }
        }
    }

    /// What this process can take on: a job for each worker without one, or that will be in a
    /// moment; and, while jobs are quick, more before the last ones are through.
    fn load(&self, floor: &Floor, are_quick: bool, ahead: usize) -> Load {
        let waiting = floor.waiting.load(Ordering::Acquire);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let places = floor.slots.available_permits();
        let is_through = places <= waiting && are_quick && waiting < WAITING_MAX / 2;
        let free = if is_through { self.jobs_at_once } else { number((places + ahead).saturating_sub(waiting)) };
        let most = (ahead * 2).max(self.jobs_at_once as usize).min(WAITING_MAX);
        Load { idle: number(places.saturating_sub(waiting)), free, room: number(most.saturating_sub(waiting)) }
    }

    /// Wait for what is worth another look, or the end.
    async fn wait(&self, platform: &Platform, floor: &Floor, what: For, stop: &mut watch::Receiver<bool>) {
        let jitter = self.poll.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        tokio::select! {
            () = platform.bell.rung(), if what != For::Room => {}
            () = floor.ended.notified(), if what != For::Jobs => {}
            () = sleep(jitter) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Hold leased jobs and hand them on; whether somebody takes them.
async fn pass_on(jobs: Vec<Claimed>, floor: &Floor, held: &Held, hand: &mpsc::Sender<Vec<InFlight>>) -> bool {
    if jobs.is_empty() {
        return true;
    }
    floor.waiting.fetch_add(jobs.len(), Ordering::AcqRel);
    let batch = jobs.into_iter().map(|job| InFlight { hold: held.hold(&job), job }).collect();
    hand.send(batch).await.is_ok()
}

/// What the claimer waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// A hint that there are jobs.
    Jobs,
    /// A job that ends: there is a worker without one.
    Room,
    /// Both: what waits may run when a ceiling is met no more.
    Either,
}

/// Where claimed jobs are run.
struct Runner {
    invoker: Invoker,
    floor: Floor,
    acks: mpsc::Sender<End>,
}

/// Give claimed jobs to workers as these get free, until no more are claimed and all ended;
/// the claims of those that were not begun.
async fn dispatch(
    runner: Arc<Runner>,
    mut taken: mpsc::Receiver<Box<InFlight>>,
    mut stop: watch::Receiver<bool>,
) -> Vec<Hold> {
    let mut running = JoinSet::new();
    let mut left = Vec::new();
    while let Some(in_flight) = taken.recv().await {
        while running.try_join_next().is_some() {}
        let slot = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            slot = Arc::clone(&runner.floor.slots).acquire_owned() => slot.ok(),
        };
        let Some(slot) = slot else {
            // What was not begun is for others; what runs may end.
            left.push(in_flight.hold);
            continue;
        };
        runner.floor.waiting.fetch_sub(1, Ordering::AcqRel);
        let runner = Arc::clone(&runner);
        running.spawn(async move {
            runner.run(in_flight).await;
            drop(slot);
        });
    }
    while running.join_next().await.is_some() {}
    left
}

impl Runner {
    /// Run a claimed job until it ended or was stopped.
    async fn run(&self, mut in_flight: Box<InFlight>) {
        let platform = &self.invoker.platform;
        let InFlight { job, hold } = &mut *in_flight;
        if job.crashes > 0 && !begin_suspect(platform, job).await {
            self.floor.ended.notify_one();
            return;
        }
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
        self.floor.end(Run { queue: job.queue, tenant: job.tenant_id, kind: job.kind.clone(), took });
        if let RunEnd::Idle(result) = end {
            // Only when the host is at its end is nobody there to write it.
            drop(self.acks.send((in_flight, result)).await);
        }
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

/// A job that was in the hands of a worker when it died may be what it died of: its run is
/// told before it begins; whether it may.
async fn begin_suspect(platform: &Platform, job: &Claimed) -> bool {
    match Box::pin(jobs::begin_suspect(platform, job)).await {
        Ok(true) => true,
        Ok(false) => {
            tracing::warn!(job = %job.id, "the lease was lost before the run began");
            false
        }
        Err(error) => {
            tracing::warn!(%error, job = %job.id, "a job could not be begun; it will be tried again");
            give_back(platform, vec![(job.tenant_id, job.fence())]).await;
            false
        }
    }
}

/// What the host stopped by itself is no crash and no attempt.
async fn give_back(platform: &Platform, unfinished: Vec<(TenantId, Fence)>) {
    for (tenant, fence) in unfinished {
        if let Err(error) = Box::pin(jobs::release(platform, tenant, fence, Duration::ZERO)).await {
            tracing::warn!(%error, job = %fence.job, "a job could not be given back; it is when its lease ends");
        }
    }
}
