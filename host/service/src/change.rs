//! What every mutation of the platform leaves behind: an audit row and an event, in the
//! transaction that makes it.

use purlin_domain::{Json, Timestamp, audit::AuditEntry, event::Cause, principal::Principal};
use purlin_store::{TenantTx, audit};

use crate::{Platform, Result, events};

/// A mutation of one thing.
pub(crate) struct Change {
    /// What happened: the audit action and the event type, such as `user.updated`.
    pub(crate) what: &'static str,
    /// The kind of thing.
    pub(crate) resource_type: &'static str,
    /// Which one.
    pub(crate) id: String,
    /// What changed, for the audit log.
    pub(crate) changes: Json,
    /// What subscribers are told.
    pub(crate) data: Json,
}

/// Write the audit rows and publish the events of what a principal did.
pub(crate) async fn tell(
    platform: &Platform,
    tx: &mut TenantTx,
    principal: &Principal,
    changes: Vec<Change>,
    now: Timestamp,
) -> Result<()> {
    let mut entries = Vec::new();
    let mut new = Vec::new();
    for Change { what, resource_type, id, changes, data } in changes {
        new.push(events::core(platform, what, id.clone(), data));
        let entry = AuditEntry {
            action: what.to_owned(),
            resource_type: resource_type.to_owned(),
            resource_id: Some(id),
            changes,
        };
        entries.push((platform.clock.id(), entry));
    }
    audit::append(tx, principal, &entries, now).await?;
    let user = principal.actor.user();
    let cause = Cause { user, event: None, root: platform.clock.id(), depth: 0 };
    events::publish(platform, tx, &new, &cause, now, user).await
}
