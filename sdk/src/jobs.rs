//! Background jobs.

use std::time::Duration;

use serde::Serialize;

use crate::{Error, bindings::purlin::platform::jobs as wit};

pub use wit::{Queue, State};

/// When a job runs, among which others, and whether it may be there twice.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Not before this long from now; a year at most.
    pub delay: Duration,
    /// While an unfinished job of the kind has this key (200 bytes at most), a second
    /// enqueue returns its id and adds nothing.
    pub unique_key: Option<String>,
    /// Jobs of this plugin with the same key (200 bytes at most) run one after the other, in
    /// the order in which they were enqueued.
    pub ordering_key: Option<String>,
    /// Its share of the workers; what its kind says when missing.
    pub queue: Option<Queue>,
    /// Within its tenant and queue, 0 comes first and 9 last; 5 when missing.
    pub priority: Option<u8>,
}

/// Enqueue a job of a kind the descriptor declares; its id is returned. It commits with
/// the invocation.
pub fn enqueue(kind: &str, payload: &impl Serialize, options: Options) -> Result<String, Error> {
    let payload = serde_json::to_string(payload).map_err(|e| Error::shape(&e))?;
    let delay_ms = u64::try_from(options.delay.as_millis()).unwrap_or(u64::MAX);
    let Options { unique_key, ordering_key, queue, priority, .. } = options;
    Ok(wit::enqueue(kind, &payload, &wit::Options { delay_ms, unique_key, ordering_key, queue, priority })?)
}

/// The state of a job of this plugin.
pub fn status(id: &str) -> Result<State, Error> {
    Ok(wit::status(id)?)
}

/// Cancel a job of this plugin that has not started; `Conflict` once it has.
pub fn cancel(id: &str) -> Result<(), Error> {
    Ok(wit::cancel(id)?)
}

/// Tell how far the running job is, 0 to 100. Kept when the invocation commits.
pub fn progress(percent: u8, message: Option<&str>) -> Result<(), Error> {
    Ok(wit::progress(percent, message)?)
}
