//! What is asked of a plugin beside events, jobs and requests, and what comes of an invocation.

use std::time::Duration;

use crate::{
    Json,
    id::{RecordId, UserId},
    limits::Limit,
};

/// Why the host ended an invocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It met a limit.
    #[error("stopped: the {0} limit was met")]
    Limit(Limit),
    /// It trapped: a panic, an unreachable, a broken call.
    #[error("trapped: {0}")]
    Trap(String),
    /// The host could not answer one of its calls.
    #[error("the host was unavailable: {0}")]
    Unavailable(String),
}

/// What one invocation took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Wall-clock time.
    pub wall: Duration,
    /// CPU time.
    pub cpu: Duration,
    /// Bytes of memory at its end.
    pub memory_bytes: usize,
    /// Calls to the host.
    pub host_calls: u32,
}

/// What is about to happen to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// It is created.
    Create,
    /// Its data is replaced.
    Update,
    /// It is deleted.
    Delete,
}

impl Verb {
    /// All of them.
    pub fn all() -> Vec<Self> {
        vec![Self::Create, Self::Update, Self::Delete]
    }
}

/// A write that a plugin is to check.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteToCheck {
    /// `plugin.collection`.
    pub collection: String,
    /// What is about to happen.
    pub verb: Verb,
    /// To which record.
    pub id: RecordId,
    /// Its data as it is.
    pub before: Option<Json>,
    /// Its data as it would be.
    pub after: Option<Json>,
    /// The user who writes, or whose request led to it.
    pub actor: Option<UserId>,
}

/// What a tenant did with a plugin.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It was enabled.
    Enabled,
    /// It runs another version than this one now.
    Upgraded(String),
    /// Its settings or secrets changed.
    Configured,
}

/// Whether a step is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It is.
    Done,
    /// It is to be taken again, so that it goes on.
    Again,
}
