//! Publishing events, and reading what was published.

use purlin_domain::{
    Json, Timestamp,
    access::Permission,
    event::{Cause, Event, NewEvent},
    id::{EventId, UserId},
    job::{ATTEMPTS_DEFAULT, DELIVERY, NewJob},
    principal::Principal,
};
use purlin_store::{
    TenantTx, events,
    jobs::{self, Enqueue},
};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError,
    catalog::{self, Enabled},
    list::{ListPage, ListQuery, Prepared},
};

/// The source of the platform's own events.
pub(crate) const CORE: &str = "/core";

/// An event of the platform itself.
pub(crate) fn core(platform: &Platform, event_type: &str, subject: String, data: Json) -> NewEvent {
    NewEvent {
        id: platform.id(),
        source: CORE.to_owned(),
        event_type: event_type.to_owned(),
        subject: Some(subject),
        data,
    }
}

/// Write events and, in the same transaction, one delivery job for every enabled
/// subscription that matches.
pub(crate) async fn publish(
    platform: &Platform,
    tx: &mut TenantTx,
    new: Vec<NewEvent>,
    cause: &Cause,
    now: Timestamp,
    by: Option<UserId>,
) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    events::insert(tx, &new, cause, now).await?;
    let mut deliveries = Vec::new();
    for plugin in catalog::enabled(platform, tx).await? {
        for event in new.iter().filter(|event| receives(&plugin, &event.event_type)) {
            let job = NewJob {
                id: platform.id(),
                kind: DELIVERY.to_owned(),
                payload: json!({ "event": event.id, "type": event.event_type }),
                run_at: now,
                attempts_max: ATTEMPTS_DEFAULT,
                unique_key: None,
            };
            deliveries.push((job, plugin.installation.plugin.clone(), event.id));
        }
    }
    let rows: Vec<Enqueue<'_>> =
        deliveries.iter().map(|(job, plugin, event)| Enqueue { job, plugin, event: Some(*event) }).collect();
    Ok(jobs::insert(tx, &rows, cause, now, by).await?)
}

/// Whether an enabled plugin gets events of this type: it subscribed, and they lie in
/// its own name space or it was granted `events:read`.
fn receives(plugin: &Enabled, event_type: &str) -> bool {
    let descriptor = &plugin.loaded.descriptor;
    let own = event_type.strip_prefix(descriptor.name.as_str()).is_some_and(|rest| rest.starts_with('.'));
    descriptor.handles(event_type) && (own || plugin.grants().allows(&Permission::new("events", "read")))
}

/// A page of the tenant's events.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<Event>> {
    let prepared = Prepared::new(platform, principal.tenant, "events", &events::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = events::list(&mut tx, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// One event.
pub async fn get(platform: &Platform, principal: &Principal, id: EventId) -> Result<Event> {
    let mut tx = platform.db.read(principal.tenant).await?;
    events::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)
}
