//! `audit`: a plugin's own entries in the audit log.

use purlin_domain::{audit::AuditEntry, error::HostError};

use super::Host;
use crate::{
    bindings::purlin::platform::{audit as wit, types},
    state::{State, json, len, plain},
};

/// What the platform answers.
pub trait Audit {
    /// Add an entry, to be committed with the invocation.
    fn record_audit(&mut self, entry: AuditEntry) -> Result<(), HostError>;
}

impl<H: Host> wit::Host for State<H> {
    fn record(&mut self, entry: wit::Entry) -> wasmtime::Result<Result<(), types::Error>> {
        let about = entry.resource_type.len() + len(entry.resource_id.as_ref());
        let host = self.call(entry.action.len() + about + entry.changes.len())?;
        let recorded = json("/changes", &entry.changes).and_then(|changes| {
            let resource_id = plain("/resource_id", entry.resource_id)?;
            let resource_type = plain("/resource_type", Some(entry.resource_type))?.unwrap_or_default();
            host.record_audit(AuditEntry { action: entry.action, resource_type, resource_id, changes })
        });
        Ok(recorded.map_err(types::Error::from))
    }
}
