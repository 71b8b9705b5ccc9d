//! A process that runs jobs: claim, run, acknowledge; and beside them the upkeep.

mod ack;
mod events;
mod held;
mod pace;
mod runner;
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
    jobs::{self, Claimer, Load, Offer},
    store::workers,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use self::{
    held::{Held, InFlight},
    pace::Pace,
    runner::{Runner, give_back},
    upkeep::{
        beat, fire_schedules, measure, pass_hints_on, promote, rescue, stop_lapsed, stop_what_must, sure_until, tidy,
    },
};
use crate::invoke::Invoker;

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
    runs: Arc<Mutex<Vec<EndedRun>>>,
}

/// A run that ended.
struct EndedRun {
    queue: Queue,
    tenant: TenantId,
    kind: String,
    took: Duration,
}

impl Floor {
    fn end(&self, run: EndedRun) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).push(run);
        self.ended.notify_one();
    }

    fn take_runs(&self) -> Vec<EndedRun> {
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
        let runner = Arc::new(Runner::new(self.invoker.clone(), floor, held.clone(), acks));
        let mut dispatching = tokio::spawn(Arc::clone(&runner).dispatch(taken, stop.clone()));
        let suspects =
            tokio::spawn(Arc::clone(&runner).run_suspects(self.incarnation, held_until.clone(), stop.clone()));
        self.claim(&runner, &held_until, &hand, &mut stop).await;
        drop(suspects.await);
        // Nobody is offered anything from here on. What waits here was not begun; what runs
        // may end.
        drop(hand);
        let mut unfinished = Vec::new();
        let ended = timeout(self.grace, runner.end(&mut dispatching)).await;
        if ended.is_err() {
            tracing::warn!("jobs did not end in time; they will be run again");
            // Nothing may go on here that is given to others; who is stopped lets go of its claim.
            unfinished = held.all();
            dispatching.abort();
            runner.stop();
        }
        drop(runner);
        let last = async {
            let _ = acknowledging.await;
            // What ended meanwhile is nobody's to give back: the fence tells.
            unfinished.extend(held.all());
            give_back(&platform, unfinished).await;
            drop(ended);
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
        runner: &Arc<Runner>,
        held_until: &watch::Receiver<Instant>,
        hand: &mpsc::Sender<Vec<InFlight>>,
        stop: &mut watch::Receiver<bool>,
    ) {
        let (platform, floor) = (&self.invoker.platform, runner.floor());
        let mut claimer = Claimer::new(self.incarnation, platform.settings.lease);
        let (mut are_quick, mut is_more) = (false, false);
        let mut pace = Pace::new();
        while !*stop.borrow() {
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
            if count > 0 && hand.send(runner.hold(taken.jobs)).await.is_err() {
                return;
            }
            if !taken.is_more {
                self.rest(&claimer, runner, held_until, stop).await;
            } else if count == 0 {
                self.wait(platform, floor, For::Either, stop).await;
            }
        }
    }

    /// Wait for a hint that there are jobs; meanwhile those who add some may have them run at once.
    async fn rest(
        &self,
        claimer: &Claimer,
        runner: &Arc<Runner>,
        held_until: &watch::Receiver<Instant>,
        stop: &mut watch::Receiver<bool>,
    ) {
        let (platform, floor) = (&self.invoker.platform, runner.floor());
        if let Some(until) = claimer.idle_until() {
            platform.bell.offer(Offer {
                lease: claimer.lease(),
                free: Arc::clone(&floor.slots),
                until: until.min(sure_until(*held_until.borrow()).into_std()),
                runner: Arc::<Runner>::clone(runner),
            });
        }
        self.wait(platform, floor, For::Jobs, stop).await;
        platform.bell.withdraw();
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
