//! Publishing events, and reading what was published.

mod relay;
mod replay;
mod stream;
mod types;

use purlin_domain::{
    Json, Timestamp,
    access::Permission,
    core_event::SOURCE,
    descriptor::{OnDead, Subscription},
    event::{Event, NewEvent},
    id::EventId,
    job::{CORE as JOB_CORE, DELIVERY, NewJob},
    principal::Principal,
};
use purlin_store::{
    TenantTx,
    events::{self, Publish},
    jobs::{self, Enqueue},
    webhooks,
};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError,
    catalog::{self, Enabled},
    list::{ListPage, ListQuery, Prepared},
};

pub use relay::{Relayed, relay};
pub use replay::{NewEventRequest, Published, Replay, ReplayMany, publish_as, replay, replay_many};
pub(crate) use replay::{REPLAY, run as run_replay};
pub use stream::{Stream, Streams, end_streams, stream};
pub use types::{EventTypeView, event_type, types};

/// An event of the platform itself.
pub(crate) fn core(platform: &Platform, event_type: &str, subject: String, data: Json) -> NewEvent {
    NewEvent {
        id: platform.id(),
        source: SOURCE.to_owned(),
        event_type: event_type.to_owned(),
        subject: Some(subject),
        data,
    }
}

/// Write events and, in the same transaction, one delivery job for every enabled
/// subscription that matches.
pub(crate) async fn publish(platform: &Platform, tx: &mut TenantTx, new: &[Publish<'_>], now: Timestamp) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    for published in new {
        types::check(published.event)?;
    }
    let mut deliveries = Vec::new();
    for plugin in catalog::listening(platform, tx).await? {
        for published in new {
            let event = published.event;
            let Some(subscription) = subscription(&plugin, &event.event_type) else { continue };
            let name = &plugin.installation.plugin;
            let payload = json!({ "event": event.id, "type": event.event_type });
            let job = NewJob::new(platform.id(), DELIVERY, payload, now);
            let job = in_lane(name, subscription, event.subject.as_deref(), job);
            deliveries.push((job, name.clone(), published));
        }
    }
    for (webhook, patterns) in webhooks::enabled(tx).await? {
        for published in new.iter().filter(|p| crate::webhooks::takes(&patterns, &p.event.event_type)) {
            let event = published.event;
            let job = crate::webhooks::job(platform, webhook, &event.event_type, event.id, now);
            deliveries.push((job, JOB_CORE.to_owned(), published));
        }
    }
    events::insert(tx, new, now).await?;
    let rows: Vec<Enqueue<'_>> = deliveries
        .iter()
        .map(|(job, plugin, p)| Enqueue { job, plugin, event: Some(p.event.id), cause: p.cause, by: p.by })
        .collect();
    Ok(jobs::insert(tx, &rows, now).await?)
}

/// A delivery in the lane that its subscription asks for.
fn in_lane(plugin: &str, subscription: &Subscription, subject: Option<&str>, job: NewJob) -> NewJob {
    let lane = subject.filter(|_| subscription.ordered);
    NewJob {
        ordering_key: lane.map(|subject| format!("{plugin}/{subject}")),
        blocks_lane: lane.is_some() && subscription.on_dead == OnDead::Block,
        ..job
    }
}

/// The subscription by which an enabled plugin gets events of this type: it subscribed,
/// and they lie in its own name space or it was granted `events:read`.
fn subscription<'a>(plugin: &'a Enabled, event_type: &str) -> Option<&'a Subscription> {
    let descriptor = &plugin.loaded.descriptor;
    let own = event_type.strip_prefix(descriptor.name.as_str()).is_some_and(|rest| rest.starts_with('.'));
    let may = own || plugin.grants().allows(&Permission::new("events", "read"));
    descriptor.subscription(event_type).filter(|_| may)
}

/// A page of the tenant's events.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<Event>> {
    let prepared = Prepared::new(platform, principal.tenant, "events", &events::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let mut page = events::list(&mut tx, &prepared.slice()).await?;
    page.rows.iter_mut().for_each(|event| event.show_outside(&platform.settings.public_url));
    Ok(prepared.page(platform, page))
}

/// One event.
pub async fn get(platform: &Platform, principal: &Principal, id: EventId) -> Result<Event> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let mut event = events::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)?;
    event.show_outside(&platform.settings.public_url);
    Ok(event)
}
