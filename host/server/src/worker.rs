//! The worker loops: claim, beat, rescue, tidy up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use purlin_domain::id::{JobId, TenantId};
use purlin_service::{
    Platform,
    jobs::{self, Claimed, Fence},
    maintenance, tenants,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use crate::invoke::Invoker;

const MAINTENANCE_EVERY: Duration = Duration::from_secs(3_600);
/// After a claim failed, as when the database restarts.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// Between two looks for suspended tenants, whose jobs are to stop.
const SUSPENDED_EVERY: Duration = Duration::from_secs(2);

/// The claims this worker holds, for as long as they run.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<HashMap<JobId, Claim>>>);

/// A claim, and what stops it.
#[derive(Clone)]
struct Claim {
    tenant: TenantId,
    fence: Fence,
    stop: Arc<Notify>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hold a claim until what is returned is dropped.
    fn hold(&self, claimed: &Claimed) -> Hold {
        let stop = Arc::new(Notify::new());
        let claim = Claim { tenant: claimed.tenant_id, fence: claimed.fence(), stop: Arc::clone(&stop) };
        self.lock().insert(claimed.id, claim);
        Hold { held: self.clone(), fence: claimed.fence(), stop }
    }

    /// Stop what runs for this tenant.
    fn stop(&self, tenant: TenantId) {
        for claim in self.lock().values().filter(|claim| claim.tenant == tenant) {
            claim.stop.notify_one();
        }
    }

    fn all(&self) -> Vec<(TenantId, Fence)> {
        self.lock().values().map(|claim| (claim.tenant, claim.fence)).collect()
    }
}

struct Hold {
    held: Held,
    fence: Fence,
    stop: Arc<Notify>,
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
    /// is given back, to be run again.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let platform = Arc::clone(&self.invoker.platform);
        let (lease, held_until) = watch::channel(Instant::now() + platform.settings.lease);
        let held = Held::default();
        let mut helpers = JoinSet::new();
        helpers.spawn(beat(Arc::clone(&platform), held.clone(), lease));
        helpers.spawn(rescue(Arc::clone(&platform)));
        helpers.spawn(tidy(Arc::clone(&platform)));
        helpers.spawn(pass_hints_on(Arc::clone(&platform)));
        helpers.spawn(stop_suspended(Arc::clone(&platform), held.clone()));

        let slots = Arc::new(Semaphore::new(self.jobs_at_once as usize));
        let mut running = JoinSet::new();
        while !*stop.borrow() {
            while running.try_join_next().is_some() {}
            let free = u32::try_from(slots.available_permits()).unwrap_or(0);
            let started = if free > 0 { self.claim(free, &slots, &held, &held_until, &mut running).await } else { 0 };
            if free == 0 || started < free {
                self.wait(&platform, free == 0, &slots, &mut stop).await;
            }
        }
        let ended = timeout(self.grace, async { while running.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            let unfinished = held.all();
            running.shutdown().await;
            tracing::warn!(jobs = unfinished.len(), "jobs did not end in time; they will be run again");
            give_back(&platform, unfinished).await;
        }
        // The beat goes on until here, so that jobs which are ending keep their leases.
        helpers.shutdown().await;
    }

    /// Claim up to `free` jobs and start them; how many.
    async fn claim(
        &self,
        free: u32,
        slots: &Arc<Semaphore>,
        held: &Held,
        held_until: &watch::Receiver<Instant>,
        running: &mut JoinSet<()>,
    ) -> u32 {
        if sure_until(*held_until.borrow()) <= Instant::now() {
            // What it took now it could not keep; the beat comes back first.
            return 0;
        }
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
            let (invoker, held_until, hold) = (self.invoker.clone(), held_until.clone(), held.hold(&job));
            running.spawn(async move {
                let (platform, claim) = (Arc::clone(&invoker.platform), (job.tenant_id, job.fence()));
                tokio::select! {
                    () = invoker.run(job) => {}
                    () = lapse(held_until) => {
                        tracing::warn!(job = %claim.1.job, "stopped: this worker could not prolong its leases");
                        give_back(&platform, vec![claim]).await;
                    }
                    () = hold.stop.notified() => {
                        tracing::info!(job = %claim.1.job, "stopped: its tenant was suspended");
                        give_back(&platform, vec![claim]).await;
                    }
                }
                drop((hold, slot));
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

/// What the host stopped by itself is no crash and no attempt.
async fn give_back(platform: &Platform, unfinished: Vec<(TenantId, Fence)>) {
    for (tenant, fence) in unfinished {
        if let Err(error) = jobs::release(platform, tenant, fence, Duration::ZERO).await {
            tracing::warn!(%error, job = %fence.job, "a job could not be given back; it is when its lease ends");
        }
    }
}

/// Prolong the leases at a third of their length; tell until when they surely hold.
async fn beat(platform: Arc<Platform>, held: Held, held_until: watch::Sender<Instant>) {
    let lease = platform.settings.lease;
    loop {
        let began = Instant::now();
        match jobs::beat(&platform, &held.all()).await {
            Ok(()) => {
                held_until.send_replace(began + lease);
            }
            Err(error) => {
                tracing::warn!(%error, "leases could not be prolonged");
                sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        }
        sleep(lease / 3).await;
    }
}

/// Until when leases that may end at `until` are surely held: a tenth of what is left is spared.
fn sure_until(until: Instant) -> Instant {
    until - until.saturating_duration_since(Instant::now()) / 10
}

/// Returns when the leases may have run out, with a little to spare.
async fn lapse(mut held_until: watch::Receiver<Instant>) {
    loop {
        let until = sure_until(*held_until.borrow_and_update());
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            changed = held_until.changed() => {
                if changed.is_err() {
                    return tokio::time::sleep_until(until).await;
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

/// Stop what runs for tenants that were suspended, here or on another host.
async fn stop_suspended(platform: Arc<Platform>, held: Held) {
    loop {
        tokio::select! {
            () = platform.suspended.notified() => {}
            () = sleep(SUSPENDED_EVERY) => {}
        }
        if held.all().is_empty() {
            continue;
        }
        match tenants::suspended(&platform).await {
            Ok(suspended) => suspended.into_iter().for_each(|tenant| held.stop(tenant)),
            Err(error) => tracing::warn!(%error, "whether a tenant was suspended is not known"),
        }
    }
}

/// Hints from other hosts ring the same bell as those of this one.
async fn pass_hints_on(platform: Arc<Platform>) {
    let Some(bus) = platform.bus.clone() else { return };
    let (sender, mut hints) = mpsc::channel(64);
    let ring = async {
        while let Some(hint) = hints.recv().await {
            platform.hear(hint);
        }
    };
    tokio::join!(bus.listen(sender), ring);
}
