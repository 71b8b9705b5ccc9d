//! What the engine should do, in memory, without a database.

use std::collections::BTreeMap;

use purlin_domain::{Timestamp, job::Queue};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelJob {
    pub queue: Queue,
    pub priority: u8,
    pub run_at: Timestamp,
    pub state: &'static str,
    pub attempt: i64,
    pub crashes: i64,
    pub run_lease: i64,
    pub unique: Option<String>,
    pub lane: Option<String>,
    pub blocks: bool,
    pub seq: u64,
    pub is_lapsing: bool,
    pub is_suspect: bool,
    pub crashes_alone: i64,
}

#[derive(Default)]
pub struct Model {
    pub jobs: BTreeMap<u128, ModelJob>,
    seq: u64,
}

impl Model {
    fn is_head(job: &ModelJob) -> bool {
        matches!(job.state, "scheduled" | "ready" | "running") || (job.state == "dead" && job.blocks)
    }

    pub fn heads(&self, lane: &str) -> usize {
        self.jobs.values().filter(|job| job.lane.as_deref() == Some(lane) && Self::is_head(job)).count()
    }

    fn due(run_at: Timestamp, now: Timestamp) -> &'static str {
        if run_at <= now { "ready" } else { "scheduled" }
    }

    fn open_lane(&mut self, lane: Option<String>, now: Timestamp) {
        let Some(lane) = lane else { return };
        if self.heads(&lane) > 0 {
            return;
        }
        let next = self.jobs.values_mut().filter(|job| job.state == "waiting" && job.lane.as_deref() == Some(&lane));
        if let Some(next) = next.min_by_key(|job| job.seq) {
            next.state = Self::due(next.run_at, now);
        }
    }

    /// Whether it was taken in: its unique key may be taken.
    pub fn enqueue(&mut self, id: u128, mut job: ModelJob, now: Timestamp) -> bool {
        let is_taken = |other: &ModelJob| {
            other.unique.is_some()
                && other.unique == job.unique
                && !matches!(other.state, "dead" | "succeeded" | "cancelled")
        };
        if self.jobs.values().any(is_taken) {
            return false;
        }
        self.seq += 1;
        job.seq = self.seq;
        job.state = match &job.lane {
            Some(lane) if self.heads(lane) > 0 => "waiting",
            _ => Self::due(job.run_at, now),
        };
        self.jobs.insert(id, job);
        true
    }

    pub fn promote(&mut self, now: Timestamp) {
        let is_due = |job: &&mut ModelJob| job.state == "scheduled" && !job.is_suspect && job.run_at <= now;
        for job in self.jobs.values_mut().filter(is_due) {
            job.state = "ready";
        }
    }

    /// Which jobs a claim gets.
    pub fn claim(&mut self, queue: Queue, count: usize, is_lapsing: bool) -> Vec<u128> {
        let mut ready: Vec<(u8, Timestamp, u64, u128)> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.state == "ready" && job.queue == queue)
            .map(|(id, job)| (job.priority, job.run_at, job.seq, *id))
            .collect();
        ready.sort_unstable();
        let mut claimed: Vec<u128> = ready.into_iter().take(count).map(|(.., id)| id).collect();
        claimed.sort_unstable();
        for id in &claimed {
            let job = self.jobs.get_mut(id).unwrap();
            job.state = "running";
            job.attempt += 1;
            job.run_lease += 1;
            job.is_lapsing = is_lapsing;
        }
        claimed
    }

    /// Which suspect is claimed next.
    pub fn claim_suspect(&mut self, is_lapsing: bool, now: Timestamp) -> Option<u128> {
        let due = self.jobs.iter().filter(|(_, job)| job.state == "scheduled" && job.is_suspect && job.run_at <= now);
        let id = *due.min_by_key(|(_, job)| (job.crashes_alone, job.run_at, job.seq))?.0;
        let job = self.jobs.get_mut(&id).unwrap();
        (job.state, job.is_lapsing) = ("running", is_lapsing);
        job.attempt += 1;
        job.run_lease += 1;
        Some(id)
    }

    /// Whether the claim still held. `to` is what becomes of the job.
    pub fn finish(&mut self, id: u128, run_lease: i64, to: &'static str, run_at: Timestamp, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.state == "running" && job.run_lease == run_lease)
        else {
            return false;
        };
        match to {
            "retry" => (job.state, job.run_at, job.is_suspect) = (Self::due(run_at, now), run_at, false),
            "release" => {
                (job.state, job.run_at) = (Self::due(run_at, now), run_at);
                if job.is_suspect {
                    job.state = "scheduled";
                }
                job.attempt -= 1;
            }
            end => {
                job.state = end;
                let lane = job.lane.clone();
                self.open_lane(lane, now);
            }
        }
        true
    }

    pub fn cancel(&mut self, id: u128, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        if !matches!(job.state, "scheduled" | "waiting" | "ready") {
            return false;
        }
        job.state = "cancelled";
        let lane = job.lane.clone();
        self.open_lane(lane, now);
        true
    }

    pub fn retry(&mut self, id: u128, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get(&id).filter(|job| job.state == "dead").cloned() else { return false };
        let is_taken = |(other, o): (&u128, &ModelJob)| {
            *other != id
                && job.unique.is_some()
                && o.unique == job.unique
                && !matches!(o.state, "dead" | "succeeded" | "cancelled")
        };
        if self.jobs.iter().any(is_taken) {
            return false;
        }
        let revived = self.jobs.get_mut(&id).unwrap();
        (revived.attempt, revived.crashes, revived.run_at) = (0, 0, now);
        (revived.is_suspect, revived.crashes_alone) = (false, 0);
        revived.state = if job.lane.is_none() || job.blocks { "ready" } else { "waiting" };
        self.open_lane(job.lane, now);
        true
    }

    pub fn discard(&mut self, id: u128, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get(&id).filter(|job| job.state == "dead").cloned() else { return false };
        self.jobs.remove(&id);
        self.open_lane(job.lane, now);
        true
    }

    pub fn rescue(&mut self, now: Timestamp) -> usize {
        let lapsed: Vec<u128> =
            self.jobs.iter().filter(|(_, job)| job.state == "running" && job.is_lapsing).map(|(id, _)| *id).collect();
        let running = self.jobs.values().filter(|job| job.state == "running" && job.is_suspect).count();
        for id in &lapsed {
            let job = self.jobs.get_mut(id).unwrap();
            let is_blamed = job.is_suspect && running == 1;
            job.crashes += 1;
            job.crashes_alone += i64::from(is_blamed);
            job.attempt -= 1;
            job.run_at = if is_blamed { now + chrono::TimeDelta::seconds(5) } else { now };
            job.state = if is_blamed && job.crashes_alone >= 3 { "dead" } else { "scheduled" };
            job.is_suspect = true;
        }
        for id in &lapsed {
            let job = self.jobs[id].clone();
            if job.state == "dead" && !job.blocks {
                self.open_lane(job.lane, now);
            }
        }
        lapsed.len()
    }
}
