//! Publishing events.

use serde::Serialize;

use crate::{Error, bindings::purlin::platform::events as wit};

/// Publish an event of a type the descriptor declares; its id is returned. It commits
/// with the invocation, together with one delivery for every subscription that matches.
pub fn publish(event_type: &str, subject: Option<&str>, data: &impl Serialize) -> Result<String, Error> {
    let data = serde_json::to_string(data).map_err(|e| Error::shape(&e))?;
    Ok(wit::publish(event_type, subject, &data)?)
}
