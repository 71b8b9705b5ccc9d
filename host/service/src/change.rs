//! A mutation: one transaction that changes something for somebody, and leaves an audit
//! row, an event, the jobs it causes and the answer to a repetition of the request.

use std::time::Instant;

use purlin_domain::{
    Json, Timestamp,
    audit::AuditEntry,
    event::Cause,
    id::{EventId, TenantId, UserId},
    job::{CORE, NewJob},
    principal::Principal,
};
use purlin_store::{
    TenantTx,
    events::Publish,
    jobs::{self, Enqueue},
};
use serde::Serialize;

use crate::{
    Platform, Result, ServiceError, audit, events, idempotency, storage,
    trace::{Span, SpanKind},
};

/// What happened to one thing.
pub(crate) struct Change {
    /// What happened: the audit action and the event type, such as `user.updated`.
    pub(crate) what: &'static str,
    /// The kind of thing.
    pub(crate) resource_type: &'static str,
    /// Which one.
    pub(crate) id: String,
    /// What changed, for the audit log. Secrets are not among it.
    pub(crate) changes: Json,
    /// What subscribers are told; nobody is when missing.
    pub(crate) data: Option<Json>,
}

/// A mutation under way. Dropped before it is finished, nothing of it stays.
pub(crate) struct Mutation<'a> {
    platform: &'a Platform,
    principal: &'a Principal,
    pub(crate) tx: TenantTx,
    pub(crate) now: Timestamp,
    changes: Vec<Change>,
    jobs: Vec<(String, NewJob, Option<EventId>)>,
    cause: Cause,
}

impl<'a> Mutation<'a> {
    /// Begin one in the principal's tenant.
    pub(crate) async fn begin(platform: &'a Platform, principal: &'a Principal) -> Result<Self> {
        let tx = platform.db.write(principal.tenant).await?;
        let cause = platform.first_cause(principal.actor.user(), principal.origin.trace);
        Ok(Self { platform, principal, tx, now: platform.now(), changes: Vec::new(), jobs: Vec::new(), cause })
    }

    /// A time for `updated_at` that differs from the last one, whatever the clock says.
    pub(crate) fn after(&self, last: Timestamp) -> Timestamp {
        self.now.max(last + chrono::TimeDelta::microseconds(1))
    }

    /// Note what changed.
    pub(crate) fn note(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Enqueue a job of the platform's own with it.
    pub(crate) fn enqueue(&mut self, job: NewJob) {
        self.enqueue_for(CORE.to_owned(), job);
    }

    /// Enqueue a job of a plugin with it.
    pub(crate) fn enqueue_for(&mut self, plugin: String, job: NewJob) {
        self.jobs.push((plugin, job, None));
    }

    /// Enqueue the delivery of an event with it.
    pub(crate) fn enqueue_delivery(&mut self, plugin: String, job: NewJob, event: EventId) {
        self.jobs.push((plugin, job, Some(event)));
    }

    /// Who makes it, where that is a user.
    pub(crate) fn by(&self) -> Option<UserId> {
        self.principal.actor.user()
    }

    /// What causes all of it.
    pub(crate) fn cause(&self) -> Cause {
        self.cause.clone()
    }

    /// Write what is left to write, and commit. Who had authority in the tenant is looked
    /// up anew from then on.
    pub(crate) async fn finish<T: Serialize>(self, reply: T) -> Result<T> {
        let began = Instant::now();
        let Self { platform, principal, mut tx, now, changes, jobs: queued, cause } = self;
        let mut new = Vec::new();
        let mut entries = Vec::new();
        for Change { what, resource_type, id, changes, data } in changes {
            new.extend(data.map(|data| events::core(platform, what, id.clone(), data)));
            entries.push(AuditEntry {
                action: what.to_owned(),
                resource_type: resource_type.to_owned(),
                resource_id: Some(id),
                changes,
            });
        }
        audit::append(platform, &mut tx, principal, entries, now).await?;
        let user = principal.actor.user();
        let new: Vec<Publish<'_>> = new.iter().map(|event| Publish { event, cause: &cause, by: user }).collect();
        events::publish(platform, &mut tx, &new, now).await?;
        let queued: Vec<Enqueue<'_>> = queued
            .iter()
            .map(|(plugin, job, event)| Enqueue { job, plugin, event: *event, cause: &cause, by: user })
            .collect();
        jobs::insert(&mut tx, &queued, now).await?;
        if let Some(key) = &principal.idempotency {
            let reply = serde_json::to_value(&reply).map_err(ServiceError::internal)?;
            idempotency::keep(platform, &mut tx, principal, key, &reply, now).await?;
        }
        // Also when whoever asked hangs up before the commit is answered.
        let forget = ForgetOnDrop(platform, principal.tenant);
        let stored = tx.stored();
        tx.commit().await?;
        storage::count(platform, principal.tenant, stored, now);
        drop(forget);
        platform.part_ended(cause.trace, began.elapsed(), || {
            Span::new("commit", SpanKind::Internal).with("purlin.tenant", principal.tenant.to_string())
        });
        platform.wake_workers();
        Ok(reply)
    }
}

/// What is remembered of who may do what is stale when this is dropped.
struct ForgetOnDrop<'a>(&'a Platform, TenantId);

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.forget_access(self.1);
    }
}

/// What another request did at the same moment.
pub(crate) fn conflict() -> ServiceError {
    ServiceError::Conflict("conflict", "another request changed it at the same moment".to_owned())
}

/// Refuse unless it is still what the caller saw.
pub(crate) fn expect(updated_at: Timestamp, expected: Option<Timestamp>) -> Result<()> {
    match expected {
        Some(seen) if seen != updated_at => Err(ServiceError::PreconditionFailed),
        _ => Ok(()),
    }
}
