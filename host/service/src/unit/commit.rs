//! The commit: one short transaction that holds every effect, or none.

use std::collections::BTreeSet;

use purlin_domain::{
    Json, Timestamp,
    audit::{AuditEntry, difference},
    event::NewEvent,
    id::{RecordId, UserId},
    record::CollectionRef,
};
use purlin_store::{
    StoreError, TenantTx,
    installations::{self, Installation},
    jobs::{self, Enqueue, Fence, Outcome},
    records,
};
use serde_json::json;

use super::{Key, Unit, Write};
use crate::{ServiceError, audit, events, idempotency, storage};

/// The acknowledgement of the job or delivery that this unit did.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Which, under which claim.
    pub fence: Fence,
    /// Its lane.
    pub lane: Option<String>,
    /// What the job returned.
    pub result: Option<Json>,
}

/// Why nothing was committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something that was read has changed, or a key was taken: do it all again.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The plugin was disabled, or runs in another version or with other grants now.
    #[error("the tenant changed what the plugin may do")]
    Withdrawn,
    /// Somebody else has the job now; what this run did must not count.
    #[error("the lease was lost")]
    LeaseLost,
    /// The database could not do it.
    #[error(transparent)]
    Failed(#[from] ServiceError),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(what) => Self::Conflict(format!("a unique key was taken meanwhile ({what})")),
            StoreError::Race(_) => Self::Conflict("another transaction was faster".to_owned()),
            other => Self::Failed(other.into()),
        }
    }
}

impl Unit {
    /// Whether there is nothing to commit but that it ended well: then many such ends can be
    /// written at once.
    pub fn is_idle(&self) -> bool {
        !self.stale
            && self.writes.is_empty()
            && self.events.is_empty()
            && self.jobs.is_empty()
            && self.cancels.is_empty()
            && self.audit.is_empty()
            && self.progress.is_none()
    }

    /// Refuse what a job returned when it is too large to be kept.
    pub fn check_result(&self, result: Option<&Json>) -> Result<(), ServiceError> {
        result.map_or(Ok(()), |result| self.payload_within(result).map(drop).map_err(ServiceError::from))
    }

    /// Commit everything together, with the acknowledgement where there is one.
    ///
    /// The fence comes first, then the tenant's consent, then the records that were seen or
    /// written, in the order of their keys, so that two commits do not wait for each other
    /// in a circle.
    pub async fn commit(mut self, ack: Option<Ack>) -> Result<(), CommitError> {
        if self.stale {
            return Err(CommitError::Conflict("a record changed between two reads".to_owned()));
        }
        self.check_result(ack.as_ref().and_then(|ack| ack.result.as_ref()))?;
        let now = self.platform.now();
        let by = self.principal.actor.user();
        let mut tx = self.platform.db.write(self.principal.tenant).await?;
        let opens_lane = ack.as_ref().is_some_and(|ack| ack.lane.is_some());
        if let Some(Ack { fence, lane, result }) = ack {
            let outcome = Outcome::Succeeded { result, progress: self.progress.take() };
            if !jobs::finish(&mut tx, fence, lane.as_deref(), &outcome, now).await? {
                return Err(CommitError::LeaseLost);
            }
        }
        self.check_consent(&mut tx).await?;
        let growth = self.growth();
        if growth != 0 {
            storage::grow(&self.platform, &mut tx, growth).await?;
        }
        self.write_records(&mut tx, now, by).await?;
        let mut new_events = self.record_events();
        new_events.append(&mut self.events);
        let published = !new_events.is_empty();
        events::publish(&self.platform, &mut tx, new_events, &self.cause, now, by).await?;
        for (id, plugin) in &self.cancels {
            if !jobs::cancel(&mut tx, *id, Some(plugin), now).await? {
                return Err(CommitError::Conflict(format!("job {id} started meanwhile")));
            }
        }
        let queued: Vec<Enqueue<'_>> =
            self.jobs.iter().map(|(job, plugin)| Enqueue { job, plugin, event: None }).collect();
        jobs::insert(&mut tx, &queued, &self.cause, now, by).await?;
        audit::append(&self.platform, &mut tx, &self.principal, self.audit_entries(), now).await?;
        if let Some(key) = &self.principal.idempotency {
            idempotency::keep(&self.platform, &mut tx, &self.principal, key, &self.reply, now).await?;
        }
        tx.commit().await?;
        if published || opens_lane || !queued.is_empty() {
            self.platform.wake_workers();
        }
        if queued.iter().any(|e| e.job.run_at > now) {
            self.platform.scheduled.notify_one();
        }
        Ok(())
    }

    /// What the plugin was allowed when it began must still be what it is allowed.
    async fn check_consent(&self, tx: &mut TenantTx) -> Result<(), CommitError> {
        let Some(plugin) = &self.plugin else { return Ok(()) };
        let began = &plugin.installation;
        let now = installations::consent(tx, &began.plugin).await?;
        let same = |now: &Installation| {
            now.state == began.state && now.version_id == began.version_id && now.grants == began.grants
        };
        if now.is_some_and(|now| same(&now)) { Ok(()) } else { Err(CommitError::Withdrawn) }
    }

    async fn write_records(&self, tx: &mut TenantTx, now: Timestamp, by: Option<UserId>) -> Result<(), CommitError> {
        // What was read must still be as it was, and what is rewritten must be what was read.
        // Keys that are given up go first: another write of this unit may claim them.
        let keys: BTreeSet<&Key> = self.seen.keys().chain(self.writes.keys()).collect();
        for key @ (of, id) in keys {
            let holds = match (self.writes.get(key), self.seen.get(key)) {
                (Some(Write::Create(_)), _) | (None, None) => true,
                (Some(Write::Update { before, after }), _) => {
                    let updated =
                        records::update(tx, of, *id, before.version, &after.data, after.updated_at, by).await?;
                    if updated && self.keys(of, &before.data) != self.keys(of, &after.data) {
                        records::delete_keys(tx, of, *id).await?;
                    }
                    updated
                }
                (Some(Write::Delete { before }), _) => records::delete(tx, of, *id, before.version).await?,
                (None, Some(version)) => records::hold_version(tx, of, *id).await? == Some(*version),
            };
            if !holds {
                return Err(changed(of, *id));
            }
        }
        for ((of, id), write) in &self.writes {
            let keys = match write {
                Write::Create(record) => {
                    records::insert(tx, of, record, by).await?;
                    self.keys(of, &record.data)
                }
                Write::Update { before, after } if self.keys(of, &before.data) != self.keys(of, &after.data) => {
                    self.keys(of, &after.data)
                }
                Write::Update { .. } | Write::Delete { .. } => continue,
            };
            records::insert_keys(tx, of, *id, &keys, now).await?;
        }
        Ok(())
    }

    /// By how many bytes of record data the tenant grows.
    fn growth(&self) -> i64 {
        let bytes = |data: &Json| i64::try_from(data.to_string().len()).unwrap_or(i64::MAX);
        let of = |write: &Write| match write {
            Write::Create(record) => bytes(&record.data),
            Write::Update { before, after } => bytes(&after.data) - bytes(&before.data),
            Write::Delete { before } => -bytes(&before.data),
        };
        self.writes.values().map(of).sum()
    }

    fn keys(&self, of: &CollectionRef, data: &Json) -> Vec<(String, String)> {
        let collection = self.plugins.get(&of.plugin).and_then(|loaded| loaded.descriptor.collection(&of.collection));
        collection.map(|c| c.unique_values(data)).unwrap_or_default()
    }

    /// What the host publishes for every write.
    fn record_events(&self) -> Vec<NewEvent> {
        let event = |((of, id), write): (&Key, &Write)| {
            let (verb, data) = match write {
                Write::Create(r) => ("created", json!({ "id": id, "version": r.version, "data": r.data })),
                Write::Update { before, after } => (
                    "updated",
                    json!({ "id": id, "version": after.version, "data": after.data, "before": before.data }),
                ),
                Write::Delete { before } => {
                    ("deleted", json!({ "id": id, "version": before.version, "before": before.data }))
                }
            };
            NewEvent {
                id: self.platform.id(),
                source: format!("/plugins/{}", of.plugin),
                event_type: format!("{}.{verb}", of.resource()),
                subject: Some(id.to_string()),
                data,
            }
        };
        self.writes.iter().map(event).collect()
    }

    /// What the host records of every write, and what the plugin added.
    fn audit_entries(&self) -> Vec<AuditEntry> {
        let empty = json!({});
        let entry = |((of, id), write): (&Key, &Write)| {
            let (verb, changes) = match write {
                Write::Create(record) => ("created", difference(&empty, &record.data)),
                Write::Update { before, after } => ("updated", difference(&before.data, &after.data)),
                Write::Delete { before } => ("deleted", difference(&before.data, &empty)),
            };
            AuditEntry {
                action: format!("{}.{verb}", of.resource()),
                resource_type: of.resource(),
                resource_id: Some(id.to_string()),
                changes,
            }
        };
        self.writes.iter().map(entry).chain(self.audit.iter().cloned()).collect()
    }
}

fn changed(of: &CollectionRef, id: RecordId) -> CommitError {
    CommitError::Conflict(format!("{} {id} changed meanwhile", of.resource()))
}
