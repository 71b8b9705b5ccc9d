//! Jobs: their states, their retries.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Json, Timestamp, id::JobId};

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its time; also between two attempts.
    Scheduled,
    /// Waits for those before it with the same ordering key.
    Waiting,
    /// Waits for a worker.
    Ready,
    /// Leased by a worker.
    Running,
    /// Done, its effects committed.
    Succeeded,
    /// A dead letter: gave up, with the last error kept.
    Dead,
    /// Taken back before it ran.
    Cancelled,
}

impl JobState {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 7] =
        [Self::Scheduled, Self::Waiting, Self::Ready, Self::Running, Self::Succeeded, Self::Dead, Self::Cancelled];

    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl TryFrom<String> for JobState {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("`{text}` is not a job state"))
    }
}

/// Which share of the workers a job gets: while all three have work, 70, 20 and 10 of a
/// hundred; what one does not use the others do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// 70 of a hundred.
    High,
    /// 20 of a hundred.
    #[default]
    Default,
    /// 10 of a hundred.
    Low,
}

impl Queue {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::High, Self::Default, Self::Low];

    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Default => "default",
            Self::Low => "low",
        }
    }

    /// Its share of the workers, of a hundred.
    pub fn share(self) -> f64 {
        match self {
            Self::High => 70.0,
            Self::Default => 20.0,
            Self::Low => 10.0,
        }
    }
}

impl TryFrom<String> for Queue {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::ALL.into_iter().find(|queue| queue.as_str() == text).ok_or_else(|| format!("`{text}` is not a queue"))
    }
}

/// The priority of a job that does not say: in the middle.
pub const PRIORITY_DEFAULT: u8 = 5;
/// The priority that comes last; 0 comes first.
pub const PRIORITY_MAX: u8 = 9;

/// The kind of every job that delivers an event to a plugin.
pub const DELIVERY: &str = "core.deliver";

/// The kind of every job that tells a plugin of a step in its life.
pub const LIFECYCLE: &str = "core.lifecycle";

/// The name under which the platform's own jobs run, where others name their plugin.
pub const CORE: &str = "core";

/// Attempts of a delivery, and of a job whose kind does not say.
pub const ATTEMPTS_DEFAULT: u32 = 10;

/// A job about to be enqueued.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// `plugin.name`, or [`DELIVERY`].
    pub kind: String,
    /// What it is about.
    pub payload: Json,
    /// Not before this instant.
    pub run_at: Timestamp,
    /// How often it is tried before it is a dead letter.
    pub attempts_max: u32,
    /// At most one unfinished job of the kind has this key.
    pub unique_key: Option<String>,
    /// Its share of the workers.
    pub queue: Queue,
    /// Within its tenant and queue, 0 comes first and 9 last.
    pub priority: u8,
    /// Jobs of the tenant with the same key run one after the other, in the order in which
    /// they were enqueued.
    pub ordering_key: Option<String>,
    /// Whether those behind it wait for it also as a dead letter.
    pub blocks_lane: bool,
    /// The schedule that made it.
    pub schedule: Option<Uuid>,
    /// The webhook it delivers to.
    pub webhook: Option<Uuid>,
}

impl NewJob {
    /// A job that is due at once, with everything else as it usually is.
    pub fn new(id: JobId, kind: impl Into<String>, payload: Json, now: Timestamp) -> Self {
        Self {
            id,
            kind: kind.into(),
            payload,
            run_at: now,
            attempts_max: ATTEMPTS_DEFAULT,
            unique_key: None,
            queue: Queue::Default,
            priority: PRIORITY_DEFAULT,
            ordering_key: None,
            blocks_lane: false,
            schedule: None,
            webhook: None,
        }
    }
}

/// What whoever enqueues a job may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// Not before this many milliseconds from now; a year at most.
    pub delay_ms: u64,
    /// While an unfinished job of this kind has this key, it is returned instead.
    pub unique_key: Option<String>,
    /// Jobs of the same plugin with the same key run one after the other, in the order in
    /// which they were enqueued.
    pub ordering_key: Option<String>,
    /// Its share of the workers; what its kind says when missing.
    pub queue: Option<Queue>,
    /// Within its tenant and queue, 0 comes first and 9 last; 5 when missing.
    pub priority: Option<u8>,
}

/// What a plugin's job gets to see of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRun {
    /// Its id.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// What it is about.
    pub payload: Json,
    /// 1 for the first run.
    pub attempt: u32,
    /// How often it is tried.
    pub attempts_max: u32,
}

/// How a run failed. Nothing it wrote is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Run it again, with growing pauses, until its attempts are used up.
    Retry(String),
    /// Run it again after this long.
    RetryAfter(Duration, String),
    /// Never run it again.
    Reject(String),
}

impl Failure {
    /// Why.
    pub fn message(&self) -> &str {
        match self {
            Self::Retry(message) | Self::RetryAfter(_, message) | Self::Reject(message) => message,
        }
    }
}

/// How long to wait after this failed attempt (1 for the first): 1 s doubled each
/// time, 15 min at most, less up to a quarter by `jitter` (0 to 1), so that what
/// failed together does not come back together.
pub fn backoff(attempt: u32, jitter: f64) -> Duration {
    let seconds = 2f64.powi(attempt.saturating_sub(1).min(20) as i32).min(900.0);
    Duration::from_secs_f64(seconds * (1.0 - 0.25 * jitter.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert_eq!(backoff(1, 0.0), Duration::from_secs(1));
        assert_eq!(backoff(4, 0.0), Duration::from_secs(8));
        assert_eq!(backoff(4, 1.0), Duration::from_secs(6));
        assert_eq!(backoff(4_000, 0.0), Duration::from_secs(900));
    }
}
