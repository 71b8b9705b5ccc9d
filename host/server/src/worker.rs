//! The worker loops: claim, beat, rescue, tidy up.

use std::{sync::Arc, time::Duration};

use purlin_service::{Platform, jobs, maintenance};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use crate::invoke::Invoker;

const MAINTENANCE_EVERY: Duration = Duration::from_secs(3_600);
/// After a claim failed, as when the database restarts.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

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

impl Worker {
    /// Run until `stop` turns true, then let running jobs end. What does not end in time
    /// is abandoned; its lease runs out and another worker has it.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let platform = Arc::clone(&self.invoker.platform);
        let (lease, held_until) = watch::channel(Instant::now() + platform.settings.lease);
        let mut helpers = JoinSet::new();
        helpers.spawn(beat(Arc::clone(&platform), self.incarnation, lease));
        helpers.spawn(rescue(Arc::clone(&platform)));
        helpers.spawn(tidy(Arc::clone(&platform)));
        helpers.spawn(pass_hints_on(Arc::clone(&platform)));

        let slots = Arc::new(Semaphore::new(self.jobs_at_once as usize));
        let mut running = JoinSet::new();
        while !*stop.borrow() {
            while running.try_join_next().is_some() {}
            let free = u32::try_from(slots.available_permits()).unwrap_or(0);
            let started = if free > 0 { self.claim(free, &slots, &held_until, &mut running).await } else { 0 };
            if free == 0 || started < free {
                self.wait(&platform, free == 0, &slots, &mut stop).await;
            }
        }
        let ended = timeout(self.grace, async { while running.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!(jobs = running.len(), "jobs did not end in time; they will be run again");
        }
        // The beat goes on until here, so that jobs which are ending keep their leases.
        helpers.shutdown().await;
    }

    /// Claim up to `free` jobs and start them; how many.
    async fn claim(
        &self,
        free: u32,
        slots: &Arc<Semaphore>,
        held_until: &watch::Receiver<Instant>,
        running: &mut JoinSet<()>,
    ) -> u32 {
        let claimed = match jobs::claim(&self.invoker.platform, self.incarnation, free).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "jobs could not be claimed");
                sleep(PAUSE_AFTER_ERROR).await;
                return 0;
            }
        };
        let mut started = 0;
        for job in claimed {
            let Ok(slot) = Arc::clone(slots).try_acquire_owned() else { break };
            started += 1;
            let (invoker, held_until) = (self.invoker.clone(), held_until.clone());
            running.spawn(async move {
                let id = job.id;
                tokio::select! {
                    () = invoker.run(job) => {}
                    () = lapse(held_until) => tracing::warn!(job = %id, "stopped: this worker could not prolong its leases"),
                }
                drop(slot);
            });
        }
        started
    }

    /// Wait for a hint, a free slot, the next look, or the end.
    async fn wait(&self, platform: &Platform, full: bool, slots: &Semaphore, stop: &mut watch::Receiver<bool>) {
        let jitter = self.poll.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        tokio::select! {
            () = platform.jobs_enqueued.notified(), if !full => {}
            _ = slots.acquire(), if full => {}
            () = sleep(jitter) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Prolong the leases at a third of their length; tell until when they surely hold.
async fn beat(platform: Arc<Platform>, incarnation: Uuid, held_until: watch::Sender<Instant>) {
    let lease = platform.settings.lease;
    loop {
        let began = Instant::now();
        match jobs::beat(&platform, incarnation).await {
            Ok(()) => {
                held_until.send_replace(began + lease);
            }
            Err(error) => tracing::warn!(%error, "leases could not be prolonged"),
        }
        sleep(lease / 3).await;
    }
}

/// Returns when the leases may have run out, with a tenth of their length to spare.
async fn lapse(mut held_until: watch::Receiver<Instant>) {
    loop {
        let until = *held_until.borrow_and_update();
        let spare = until.saturating_duration_since(Instant::now()) / 10;
        tokio::select! {
            () = tokio::time::sleep_until(until - spare) => return,
            changed = held_until.changed() => {
                if changed.is_err() {
                    tokio::time::sleep_until(until - spare).await;
                    return;
                }
            }
        }
    }
}

/// Take jobs back from workers that died, on any host.
async fn rescue(platform: Arc<Platform>) {
    loop {
        match jobs::rescue(&platform).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::warn!(count, "took jobs back from a worker that died");
                platform.jobs_enqueued.notify_one();
            }
            Err(error) => tracing::warn!(%error, "jobs could not be taken back"),
        }
        sleep(platform.settings.lease / 3).await;
    }
}

async fn tidy(platform: Arc<Platform>) {
    loop {
        if let Err(error) = maintenance::run(&platform).await {
            tracing::warn!(%error, "maintenance failed; it will be tried again");
        }
        sleep(MAINTENANCE_EVERY).await;
    }
}

/// Hints from other hosts ring the same bell as those of this one.
async fn pass_hints_on(platform: Arc<Platform>) {
    let Some(bus) = platform.bus.clone() else { return };
    let (sender, mut hints) = mpsc::channel(1);
    let ring = async {
        while hints.recv().await.is_some() {
            platform.jobs_enqueued.notify_one();
        }
    };
    tokio::join!(bus.listen(sender), ring);
}
