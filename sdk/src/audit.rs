//! Entries in the tenant's audit log, beside those the host writes by itself for every
//! mutation.

use serde_json::Value;

use crate::{Error, bindings::purlin::platform::audit as wit};

/// Add an entry; it commits with the invocation. `action` lies in the plugin's name space
/// (`inventory.count.closed`), `changes` is an object.
pub fn record(action: &str, resource_type: &str, resource_id: Option<&str>, changes: &Value) -> Result<(), Error> {
    let entry = wit::Entry {
        action: action.to_owned(),
        resource_type: resource_type.to_owned(),
        resource_id: resource_id.map(str::to_owned),
        changes: changes.to_string(),
    };
    Ok(wit::record(&entry)?)
}
