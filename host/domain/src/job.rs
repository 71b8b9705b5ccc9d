//! Jobs: their states, their retries.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Json, Timestamp, id::JobId};

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its time and a worker; also between two attempts.
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
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
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
        Ok(match text.as_str() {
            "ready" => Self::Ready,
            "running" => Self::Running,
            "succeeded" => Self::Succeeded,
            "dead" => Self::Dead,
            "cancelled" => Self::Cancelled,
            _ => return Err(format!("`{text}` is not a job state")),
        })
    }
}

/// The kind of every job that delivers an event to a plugin.
pub const DELIVERY: &str = "core.deliver";

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
