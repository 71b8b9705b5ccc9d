//! Jobs, as a plugin receives them.

use serde::de::DeserializeOwned;

use crate::bindings::purlin::platform::jobs as wit;

/// A job to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id, a UUIDv7.
    pub id: String,
    /// Its kind, for example `inventory.suggest-reorder`.
    pub kind: String,
    /// 1 for the first run.
    pub attempt: u32,
    /// How often it is tried before it is a dead letter.
    pub attempts_max: u32,
    payload: String,
}

impl Job {
    pub(crate) fn from_wit(job: wit::Job) -> Self {
        Self { id: job.id, kind: job.kind, attempt: job.attempt, attempts_max: job.attempts_max, payload: job.payload }
    }

    /// What the job is about.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.payload)
    }
}
