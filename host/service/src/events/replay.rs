//! Events published by people, and events delivered again.

use std::sync::Arc;

use purlin_domain::{
    Json, Timestamp,
    audit::AuditEntry,
    event::{Cause, Event},
    id::{EventId, UserId},
    job::{CORE, DELIVERY, NewJob},
    pattern::Pattern,
    principal::Principal,
};
use purlin_store::{
    events,
    jobs::{self, Claimed, Enqueue, Outcome},
    webhooks::{self, Webhook},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError,
    catalog::{self, Enabled},
    change::{Change, Mutation},
    jobs::backlog,
    unit::{CommitError, Unit},
    users::Enqueued,
};

/// The kind of the jobs that deliver many events again.
pub(crate) const REPLAY: &str = "replay_events";
/// Events looked at in one transaction of it.
const BATCH: u32 = 50;

/// An event to be published.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEventRequest {
    /// A type that an enabled plugin declares.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What it is about, usually an id.
    pub subject: Option<String>,
    /// The payload.
    pub data: Json,
}

/// An event that was published.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Published {
    /// Its id.
    pub id: EventId,
}

/// Publish an event of an enabled plugin, as the caller.
pub async fn publish_as(platform: &Arc<Platform>, principal: &Principal, new: NewEventRequest) -> Result<Published> {
    let unknown = || ServiceError::invalid("/type", "undeclared", "no enabled plugin declares events of this type");
    let name = new.event_type.split('.').next().unwrap_or_default();
    let mut tx = platform.db.read(principal.tenant).await?;
    let plugin = catalog::enabled_plugin(platform, &mut tx, name).await?.ok_or_else(unknown)?;
    drop(tx);
    let mut unit = Unit::for_request(platform, principal);
    let changes = json!({ "type": { "before": null, "after": new.event_type } });
    let id = unit.publish_for(&plugin, &new.event_type, new.subject, new.data).await?;
    unit.note_audit(AuditEntry {
        action: "event.published".to_owned(),
        resource_type: "event".to_owned(),
        resource_id: Some(id.to_string()),
        changes,
    });
    let published = Published { id };
    unit.answer(serde_json::to_value(&published).map_err(ServiceError::internal)?);
    match unit.commit(None).await {
        Ok(()) => Ok(published),
        Err(CommitError::Failed(error)) => Err(error),
        Err(error) => Err(ServiceError::Conflict("conflict", error.to_string())),
    }
}

/// To whom an event is delivered again: one of the two.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// An enabled plugin that subscribed to it.
    pub plugin: Option<String>,
    /// A webhook.
    pub webhook_id: Option<Uuid>,
}

/// Which events are delivered again, and to whom.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayMany {
    /// Published at this instant or later.
    pub since: Timestamp,
    /// Published before this one; until now when missing.
    pub until: Option<Timestamp>,
    /// A pattern of their types; all when missing.
    pub event_type: Option<String>,
    /// An enabled plugin that subscribed to them; or `webhook_id`.
    pub plugin: Option<String>,
    /// A webhook.
    pub webhook_id: Option<Uuid>,
}

/// Deliver an event once more, to one subscriber; the job that does.
pub async fn replay(platform: &Platform, principal: &Principal, id: EventId, to: &Replay) -> Result<Enqueued> {
    backlog::grow(platform, principal.tenant).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let event = events::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    let now = change.now;
    let job = taker(platform, &mut change.tx, to).await?.job(platform, &event, now);
    let (plugin, job) = job.ok_or_else(|| {
        ServiceError::Conflict("not_subscribed", "the subscriber does not take events of this type".to_owned())
    })?;
    let enqueued = Enqueued { id: job.id };
    change.note(Change {
        what: "event.replayed",
        resource_type: "event",
        id: id.to_string(),
        changes: json!({ "to": to, "job": { "before": null, "after": enqueued.id } }),
        data: None,
    });
    change.enqueue_delivery(plugin, job, id);
    change.finish(enqueued).await
}

/// Who an event is delivered to once more.
enum Taker {
    Plugin(Enabled),
    Webhook(Webhook),
}

/// The subscriber that is meant.
async fn taker(platform: &Platform, tx: &mut purlin_store::TenantTx, to: &Replay) -> Result<Taker> {
    match (&to.plugin, to.webhook_id) {
        (Some(name), None) => {
            let missing = || ServiceError::invalid("/plugin", "unknown", "no such plugin is enabled");
            Ok(Taker::Plugin(catalog::enabled_plugin(platform, tx, name).await?.ok_or_else(missing)?))
        }
        (None, Some(id)) => {
            let missing = || ServiceError::invalid("/webhook_id", "unknown", "there is no such webhook");
            Ok(Taker::Webhook(webhooks::by_id(tx, id).await?.ok_or_else(missing)?))
        }
        _ => Err(ServiceError::invalid("", "one_of", "say either `plugin` or `webhook_id`")),
    }
}

impl Taker {
    /// The job that delivers an event, and who runs it; none where this does not take it.
    fn job(&self, platform: &Platform, event: &Event, now: Timestamp) -> Option<(String, NewJob)> {
        match self {
            Self::Plugin(plugin) => {
                let subscription = super::subscription(plugin, &event.event_type)?;
                let payload = json!({ "event": event.id, "type": event.event_type, "replayed": true });
                let job = NewJob::new(platform.id(), DELIVERY, payload, now);
                let name = &plugin.installation.plugin;
                Some((name.clone(), super::in_lane(name, subscription, event.subject.as_deref(), job)))
            }
            Self::Webhook(webhook) => {
                let takes = webhook.is_enabled && crate::webhooks::takes(&webhook.event_types, &event.event_type);
                takes.then(|| {
                    (CORE.to_owned(), crate::webhooks::job(platform, webhook.id, &event.event_type, event.id, now))
                })
            }
        }
    }
}

/// Deliver many events once more, to one subscriber, by a job; its id.
pub async fn replay_many(platform: &Platform, principal: &Principal, which: &ReplayMany) -> Result<Enqueued> {
    if let Some(pattern) = &which.event_type {
        Pattern::try_from(pattern.clone()).map_err(|why| ServiceError::invalid("/event_type", "pattern", why))?;
    }
    if which.plugin.is_some() == which.webhook_id.is_some() {
        return Err(ServiceError::invalid("", "one_of", "say either `plugin` or `webhook_id`"));
    }
    backlog::grow(platform, principal.tenant).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let until = which.until.unwrap_or(change.now);
    let payload =
        serde_json::to_value(ReplayMany { until: Some(until), ..which.clone() }).map_err(ServiceError::internal)?;
    let job = NewJob::new(platform.id(), REPLAY, payload.clone(), change.now);
    let enqueued = Enqueued { id: job.id };
    change.note(Change {
        what: "event.replayed",
        resource_type: "event",
        id: "*".to_owned(),
        changes: json!({ "which": payload, "job": { "before": null, "after": enqueued.id } }),
        data: None,
    });
    change.enqueue(job);
    change.finish(enqueued).await
}

/// Run such a job: batch by batch, each in a transaction with a note of how far it came, so
/// that a run after a crash goes on where the last one ended. Whether the claim still held.
pub(crate) async fn run(platform: &Arc<Platform>, claimed: &Claimed) -> Result<bool> {
    let which: ReplayMany =
        serde_json::from_value(claimed.payload.clone().unwrap_or_default()).map_err(ServiceError::internal)?;
    let pattern = which.event_type.clone().and_then(|text| Pattern::try_from(text).ok());
    let to = Replay { plugin: which.plugin.clone(), webhook_id: which.webhook_id };
    let until = which.until.unwrap_or_else(|| platform.now());
    let (mut after, mut count) = resume(platform, claimed).await?.unwrap_or((None, 0));
    loop {
        let mut tx = platform.db.write(claimed.tenant_id).await?;
        let batch = events::between(&mut tx, which.since, until, after, BATCH).await?;
        let now = platform.now();
        let matches = |event: &&Event| pattern.as_ref().is_none_or(|p| p.matches(&event.event_type));
        let mut rows = Vec::new();
        if batch.iter().any(|event| matches(&event)) {
            let taker = taker(platform, &mut tx, &to).await?;
            let jobs = batch.iter().filter(matches).map(|event| (taker.job(platform, event, now), event.id));
            // Each begins a chain, as when it is replayed alone: many would be too many for one.
            let cause = || Cause::first(claimed.caused_by.map(UserId), platform.id(), claimed.trace());
            rows.extend(jobs.filter_map(|(job, event)| job.map(|(plugin, job)| (plugin, job, event, cause()))));
        }
        // Where the queue of the tenant is full, the rest waits until there is room.
        backlog::grow_by(platform, claimed.tenant_id, rows.len()).await.map_err(|error| match error {
            ServiceError::Limit(_) => {
                ServiceError::Unavailable("the tenant's queue is full; the replay goes on later".to_owned())
            }
            other => other,
        })?;
        count += rows.len();
        let queued: Vec<Enqueue<'_>> = rows
            .iter()
            .map(|(plugin, job, event, cause)| Enqueue { job, plugin, event: Some(*event), cause, by: None })
            .collect();
        jobs::insert(&mut tx, &queued, now).await?;
        let last = batch.last().map(|event| (event.time, event.id));
        let held = match last {
            Some((time, id)) if batch.len() == BATCH as usize => {
                let said = format!("{count} deliveries; after {} {id}", time.to_rfc3339());
                jobs::tell_progress(&mut tx, claimed.fence(), 0, Some(said), now).await?
            }
            _ => {
                let progress = Some((100, Some(format!("{count} deliveries"))));
                let done = Outcome::Succeeded { result: Some(json!({ "deliveries": count })), progress };
                jobs::finish(&mut tx, claimed.fence(), claimed.ordering_key.as_deref(), &done, now).await?
            }
        };
        if !held {
            return Ok(false);
        }
        tx.commit().await?;
        platform.wake_workers();
        if batch.len() < BATCH as usize {
            return Ok(true);
        }
        after = last;
    }
}

type Reached = (Option<(Timestamp, EventId)>, usize);

/// How far an earlier run of the job came.
async fn resume(platform: &Platform, claimed: &Claimed) -> Result<Option<Reached>> {
    let job = jobs::by_id(&mut platform.db.read(claimed.tenant_id).await?, claimed.id).await?;
    let said = job.and_then(|job| job.progress_message);
    let reached = said.as_deref().and_then(|said| {
        let (count, rest) = said.split_once(" deliveries; after ")?;
        let (time, id) = rest.split_once(' ')?;
        Some((Some((time.parse().ok()?, id.parse().ok()?)), count.parse().ok()?))
    });
    Ok(reached)
}
