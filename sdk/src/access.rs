//! What this invocation may do: what the tenant granted to the plugin, cut by the
//! tenant's plan.

use crate::{Error, bindings::purlin::platform::access as wit};

pub use wit::Decision;

/// Whether this may be done.
pub fn check(resource: &str, action: &str) -> bool {
    wit::check(resource, action)
}

/// `Denied` or `NotGranted` unless it may be done.
pub fn require(resource: &str, action: &str) -> Result<(), Error> {
    Ok(wit::require(resource, action)?)
}

/// How the decision comes about, one line a step.
pub fn explain(resource: &str, action: &str) -> Decision {
    wit::explain(resource, action)
}
