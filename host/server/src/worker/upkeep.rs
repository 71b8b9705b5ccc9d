//! What goes on beside claiming and running: leases are prolonged, jobs taken back from the
//! dead and made ready in their time, schedules fired, and what must is stopped.

use std::{sync::Arc, time::Duration};

use purlin_domain::id::JobId;
use purlin_service::{Platform, jobs, maintenance, metrics, schedules, store::workers, tenants};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use uuid::Uuid;

use super::{PAUSE_AFTER_ERROR, held::Held};

const MAINTENANCE_EVERY: Duration = Duration::from_secs(3_600);
/// Between two looks for suspended tenants and cancelled jobs.
const STOPS_EVERY: Duration = Duration::from_secs(2);
/// How often what may have begun meanwhile is stopped, while the leases may have run out.
const LAPSED_EVERY: Duration = Duration::from_millis(100);
/// Between two looks for schedules that are due.
const SCHEDULES_EVERY: Duration = Duration::from_secs(1);

/// Prolong the leases at a third of their length; tell until when they surely hold.
pub(super) async fn beat(
    platform: Arc<Platform>,
    worker: workers::Worker,
    held: Held,
    held_until: watch::Sender<Instant>,
) {
    let lease = platform.settings.lease;
    loop {
        let began = Instant::now();
        match jobs::beat(&platform, &worker, &held.all()).await {
            Ok(()) => {
                held_until.send_replace(began + lease);
            }
            Err(error) => {
                tracing::warn!(%error, "leases could not be prolonged");
                sleep(PAUSE_AFTER_ERROR.min(lease / 3)).await;
                continue;
            }
        }
        sleep(lease / 3).await;
    }
}

/// Until when leases that may end at `until` are surely held: a tenth of what is left is spared.
pub(super) fn sure_until(until: Instant) -> Instant {
    until - until.saturating_duration_since(Instant::now()) / 10
}

/// Stop everything once the leases may have run out, with a little to spare; again and again until
/// they surely hold once more.
pub(super) async fn stop_lapsed(held: Held, mut held_until: watch::Receiver<Instant>) {
    loop {
        let until = sure_until(*held_until.borrow_and_update());
        while timeout_at(until.max(Instant::now() + LAPSED_EVERY), held_until.changed()).await.is_err() {
            held.stop_all();
        }
        if held_until.has_changed().is_err() {
            // Nobody prolongs them any more.
            sleep_until(until).await;
            return held.stop_all();
        }
    }
}

/// Take jobs back from workers that died, on any host, and from this one what it lost track of.
pub(super) async fn rescue(platform: Arc<Platform>, own: Uuid, held: Held) {
    loop {
        let holds: Vec<JobId> = held.all().into_iter().map(|(_, fence)| fence.job).collect();
        match jobs::rescue(&platform, own, &holds).await {
            Ok(rescued) if rescued.is_empty() => {}
            Ok(rescued) => {
                tracing::warn!(count = rescued.len(), "took jobs back from a worker that died");
                platform.bell.ring();
            }
            Err(error) => tracing::warn!(%error, "jobs could not be taken back"),
        }
        sleep(platform.settings.lease / 3).await;
    }
}

/// Make jobs ready when their time comes.
pub(super) async fn promote(platform: Arc<Platform>, poll: Duration) {
    loop {
        let next = match jobs::promote(&platform).await {
            Ok((any, next)) => {
                if any {
                    platform.bell.ring();
                }
                next
            }
            Err(error) => {
                tracing::warn!(%error, "jobs whose time has come could not be made ready");
                sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        let until = next.map_or(poll, |at| (at - platform.clock.now()).to_std().unwrap_or_default());
        tokio::select! {
            () = sleep(until.clamp(Duration::from_millis(5), poll)) => {}
            () = platform.scheduled.notified() => {}
        }
    }
}

pub(super) async fn fire_schedules(platform: Arc<Platform>) {
    loop {
        if let Err(error) = schedules::fire(&platform).await {
            tracing::warn!(%error, "schedules could not be looked at; they will be again");
        }
        sleep(SCHEDULES_EVERY).await;
    }
}

/// Look at how much waits, for the metrics.
pub(super) async fn measure(platform: Arc<Platform>) {
    loop {
        let began = Instant::now();
        if let Err(error) = metrics::measure(&platform).await {
            tracing::debug!(%error, "how much waits could not be measured");
        }
        // Where very much waits, to count it must not be what keeps the database busy.
        sleep(metrics::MEASURE_EVERY.max(began.elapsed() * 50)).await;
    }
}

pub(super) async fn tidy(platform: Arc<Platform>) {
    loop {
        if let Err(error) = maintenance::run(&platform).await {
            tracing::warn!(%error, "maintenance failed; it will be tried again");
        }
        sleep(MAINTENANCE_EVERY).await;
    }
}

/// Stop what runs for tenants that were suspended, and jobs that were cancelled, here or on
/// another host.
pub(super) async fn stop_what_must(platform: Arc<Platform>, own: Uuid, held: Held) {
    loop {
        tokio::select! {
            () = platform.suspended.notified() => {}
            () = platform.cancelled.notified() => {}
            () = sleep(STOPS_EVERY) => {}
        }
        if held.all().is_empty() {
            continue;
        }
        match tenants::suspended(&platform).await {
            Ok(suspended) => suspended.into_iter().for_each(|tenant| held.stop_tenant(tenant)),
            Err(error) => tracing::warn!(%error, "whether a tenant was suspended is not known"),
        }
        match jobs::cancelled_of(&platform, own).await {
            Ok(cancelled) => cancelled.into_iter().for_each(|job| held.cancel(job)),
            Err(error) => tracing::warn!(%error, "whether a job was cancelled is not known"),
        }
    }
}

/// Hints from other hosts ring the same bell as those of this one.
pub(super) async fn pass_hints_on(platform: Arc<Platform>) {
    let Some(bus) = platform.bus.clone() else { return };
    let (sender, mut hints) = mpsc::channel(64);
    let ring = async {
        while let Some(hint) = hints.recv().await {
            platform.hear(hint);
        }
    };
    tokio::join!(bus.listen(sender), ring);
}
