//! What is counted and timed, for whoever collects it. Tenants are told apart by their
//! plan alone: there may be very many of them.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use purlin_domain::job::Queue;
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

/// What is counted at each run of jobs of one kind, queue and plan. To look these up by their
/// labels takes as long as a part of the run itself, where that is quick.
struct OfKind {
    queue: Queue,
    plan: String,
    waits: Histogram,
    runs: Histogram,
    succeeded: Counter,
}

/// Those that were looked up, by kind.
#[derive(Default)]
pub(crate) struct Meters(RwLock<HashMap<String, Vec<OfKind>>>);

/// Kinds that are remembered.
const KINDS_MAX: usize = 10_000;

impl Meters {
    fn with<R>(&self, claimed: &Claimed, count: impl FnOnce(&OfKind) -> R) -> R {
        let is_of = |of: &&OfKind| of.queue == claimed.queue && of.plan == claimed.plan;
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = known.get(&claimed.kind).and_then(|all| all.iter().find(is_of)) {
            return count(of);
        }
        drop(known);
        let of = OfKind {
            queue: claimed.queue,
            plan: claimed.plan.clone(),
            waits: histogram!("purlin_job_wait_seconds", &labels(claimed)),
            runs: histogram!("purlin_job_run_seconds", &labels(claimed)),
            succeeded: counter!("purlin_job_runs_total", &ended_labels(claimed, RunOutcome::Succeeded)),
        };
        let counted = count(&of);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KINDS_MAX {
            known.clear();
        }
        let all = known.entry(claimed.kind.clone()).or_default();
        if !all.iter().any(|of| is_of(&of)) {
            all.push(of);
        }
        counted
    }
}

fn ended_labels(claimed: &Claimed, outcome: RunOutcome) -> [(&'static str, String); 4] {
    let [queue, kind, plan] = labels(claimed);
    [queue, kind, plan, ("outcome", outcome.as_str().to_owned())]
}

fn labels(claimed: &Claimed) -> [(&'static str, String); 3] {
    [("queue", claimed.queue.as_str().to_owned()), ("kind", claimed.kind.clone()), ("plan", claimed.plan.clone())]
}

/// A run begins.
pub fn began(platform: &Platform, claimed: &Claimed) {
    let waited = (platform.now() - claimed.run_at).to_std().unwrap_or_default();
    platform.meters.with(claimed, |of| of.waits.record(waited));
}

/// A run ended after this long.
pub fn ended(platform: &Platform, claimed: &Claimed, took: Duration) {
    platform.meters.with(claimed, |of| of.runs.record(took));
}

/// How a run ended was written; or its lease was lost.
pub fn written(platform: &Platform, claimed: &Claimed, outcome: RunOutcome, held: bool) {
    match (held, outcome) {
        (false, _) => lost(claimed),
        (true, RunOutcome::Succeeded) => platform.meters.with(claimed, |of| of.succeeded.increment(1)),
        (true, _) => counter!("purlin_job_runs_total", &ended_labels(claimed, outcome)).increment(1),
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
