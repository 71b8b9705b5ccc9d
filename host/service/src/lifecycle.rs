//! Steps in the life of a plugin in a tenant: told to it by jobs, one after the other.

use purlin_domain::{
    Json, Timestamp,
    guest::Step,
    job::{LIFECYCLE, NewJob},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Platform, Result, ServiceError};

/// How often a step can ask to be taken again.
pub const ROUNDS_MAX: u32 = 10_000;

/// What the job of a step is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// The step.
    pub step: Step,
    /// How often it was taken before.
    #[serde(default)]
    pub rounds: u32,
}

/// The job that tells a plugin of a step.
pub(crate) fn job(platform: &Platform, plugin: &str, step: &Step, rounds: u32, now: Timestamp) -> NewJob {
    let payload = json!(Taken { step: step.clone(), rounds });
    // No key that a plugin gives its own jobs begins so.
    let lane = format!("{plugin}//lifecycle");
    NewJob { ordering_key: Some(lane), ..NewJob::new(platform.id(), LIFECYCLE, payload, now) }
}

/// The step that such a job is about.
pub(crate) fn taken(payload: &Json) -> Result<Taken> {
    Taken::deserialize(payload).map_err(ServiceError::internal)
}
