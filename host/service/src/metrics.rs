//! What is counted and timed, for whoever collects it. Tenants are told apart by their
//! plan alone: there may be very many of them.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use purlin_store::jobs::{self, Claimed, Rescued};

use crate::{Platform, Result};

/// Between two looks at how much waits.
pub const MEASURE_EVERY: Duration = Duration::from_secs(15);

/// How a run ended, as the counters call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Well.
    Succeeded,
    /// Badly; it runs again.
    Retried,
    /// Badly, for good.
    Dead,
    /// Before its end, by somebody's wish.
    Cancelled,
}

impl RunOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Retried => "retried",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Say what everything is.
pub fn describe() {
    describe_gauge!("purlin_jobs", "Jobs by state, queue, kind and plan of their tenant");
    describe_gauge!("purlin_job_oldest_seconds", "Age of the oldest job that is ready, by queue, kind and plan");
    describe_counter!("purlin_job_runs_total", "Runs by how they ended");
    describe_counter!("purlin_job_leases_lost_total", "Runs whose lease was lost before their end was written");
    describe_counter!("purlin_job_rescues_total", "Jobs taken back from workers that stopped beating");
    describe_histogram!("purlin_job_wait_seconds", "From when a job was due until its run began");
    describe_histogram!("purlin_job_run_seconds", "From the begin of a run until its end");
}

fn labels(claimed: &Claimed) -> [(&'static str, String); 3] {
    [("queue", claimed.queue.as_str().to_owned()), ("kind", claimed.kind.clone()), ("plan", claimed.plan.clone())]
}

/// A run begins.
pub fn began(platform: &Platform, claimed: &Claimed) {
    let waited = (platform.now() - claimed.run_at).to_std().unwrap_or_default();
    histogram!("purlin_job_wait_seconds", &labels(claimed)).record(waited);
}

/// A run ended after this long.
pub fn ended(claimed: &Claimed, took: Duration) {
    histogram!("purlin_job_run_seconds", &labels(claimed)).record(took);
}

/// How a run ended was written; or its lease was lost.
pub fn written(claimed: &Claimed, outcome: RunOutcome, held: bool) {
    if held {
        let [queue, kind, plan] = labels(claimed);
        counter!("purlin_job_runs_total", &[queue, kind, plan, ("outcome", outcome.as_str().to_owned())]).increment(1);
    } else {
        lost(claimed);
    }
}

/// A lease was lost before the end of its run was written.
pub fn lost(claimed: &Claimed) {
    counter!("purlin_job_leases_lost_total", &labels(claimed)).increment(1);
}

/// Jobs were taken back.
pub(crate) fn rescued(rescued: &[Rescued]) {
    for gone in rescued {
        let labels = [("queue", gone.queue.as_str().to_owned()), ("kind", gone.kind.clone())];
        counter!("purlin_job_rescues_total", &labels).increment(1);
    }
}

/// Look at how much waits.
pub async fn measure(platform: &Platform) -> Result<()> {
    let now = platform.now();
    let mut tx = platform.db.platform_read().await?;
    for row in jobs::census(&mut tx).await? {
        let class = [("queue", row.queue), ("kind", row.kind), ("plan", row.plan)];
        if row.state == "ready" {
            let age = (now - row.oldest).as_seconds_f64().max(0.0);
            gauge!("purlin_job_oldest_seconds", &class).set(age);
        }
        let [queue, kind, plan] = class;
        gauge!("purlin_jobs", &[queue, kind, plan, ("state", row.state)]).set(row.jobs as f64);
    }
    Ok(())
}
