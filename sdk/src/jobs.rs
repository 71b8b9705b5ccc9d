//! Background jobs.

use std::time::Duration;

use serde::Serialize;

use crate::{Error, bindings::purlin::platform::jobs as wit};

pub use wit::State;

/// When a job runs, and whether it may be there twice.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Not before this long from now; a year at most.
    pub delay: Duration,
    /// While an unfinished job of the kind has this key (200 bytes at most), a second
    /// enqueue returns its id and adds nothing.
    pub unique_key: Option<String>,
}

/// Enqueue a job of a kind the descriptor declares; its id is returned. It commits with
/// the invocation.
pub fn enqueue(kind: &str, payload: &impl Serialize, options: Options) -> Result<String, Error> {
    let payload = serde_json::to_string(payload).map_err(|e| Error::shape(&e))?;
    let delay_ms = u64::try_from(options.delay.as_millis()).unwrap_or(u64::MAX);
    Ok(wit::enqueue(kind, &payload, &wit::Options { delay_ms, unique_key: options.unique_key })?)
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
