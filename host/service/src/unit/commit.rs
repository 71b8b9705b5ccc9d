//! The commit: one short transaction that holds every effect of a unit, or none.
//!
//! Units of one tenant that end at the same time may share one: then it holds all effects
//! of all of them, or none.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use purlin_domain::{
    Json, Timestamp,
    audit::{AuditEntry, difference},
    event::{Cause, NewEvent},
    id::{RecordId, TenantId, UserId, VersionId},
    job::NewJob,
    record::CollectionRef,
};
use purlin_store::{
    StoreError, TenantTx,
    events::Publish,
    installations::{self, Installation},
    jobs::{self, Ended, Enqueue, Fence, Group},
    plugin_files, record_marks, record_references, records,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Key, Unit, Write,
    files::{self, FileWrite},
    locks, room,
};
use crate::{
    Platform, ServiceError, audit, events, idempotency,
    jobs::{backlog, offers},
    lifecycle,
    storage::{self, Kind},
    trace::{Span, SpanKind},
};

/// The acknowledgement of the job or delivery that this unit did.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Which, under which claim.
    pub fence: Fence,
    /// Where its row lay when it was claimed.
    pub place: String,
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

impl CommitError {
    fn name(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "conflict",
            Self::Withdrawn => "withdrawn",
            Self::LeaseLost => "lease lost",
            Self::Failed(_) => "failed",
        }
    }
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(constraint) => {
                tracing::debug!(constraint, "a unique key is taken");
                Self::Conflict("a unique key was taken meanwhile".to_owned())
            }
            StoreError::Race(_) => Self::Conflict("another transaction was faster".to_owned()),
            other => Self::Failed(other.into()),
        }
    }
}

/// A unit that ended, with the acknowledgement of what it did where that was a job.
pub(super) struct Ending {
    pub(super) unit: Box<Unit>,
    pub(super) ack: Option<Ack>,
}

impl Ending {
    fn by(&self) -> Option<UserId> {
        self.unit.principal.actor.user()
    }
}

/// Commit these units of one tenant together.
///
/// The plugins come first, then the fences and their lanes, then the locked keys, then the records that were seen or
/// written, in the order of their keys, so that two commits, or one and a change of an
/// installation, do not wait for each other in a circle.
pub(super) async fn commit(endings: &[Ending]) -> Result<(), CommitError> {
    let began = Instant::now();
    let done = write(endings).await;
    for Ending { unit, .. } in endings {
        let Unit { platform, principal, cause, .. } = &**unit;
        platform.part_ended(cause.trace, began.elapsed(), || {
            Span::new("commit", SpanKind::Internal)
                .failed(done.as_ref().err().map(CommitError::name))
                .with("purlin.tenant", principal.tenant.to_string())
                .with("purlin.effects", unit.effects())
        });
    }
    done
}

async fn write(endings: &[Ending]) -> Result<(), CommitError> {
    let Some(Ending { unit, .. }) = endings.first() else { return Ok(()) };
    let Unit { platform, principal, .. } = &**unit;
    for Ending { unit, ack } in endings {
        if unit.stale {
            return Err(CommitError::Conflict("a record changed between two reads".to_owned()));
        }
        unit.check_result(ack.as_ref().and_then(|ack| ack.result.as_ref()))?;
    }
    let now = platform.now();
    let puts = endings.iter().flat_map(|ending| ending.unit.files.values());
    files::write_contents(platform, principal.tenant, puts).await?;
    let mut tx = platform.db.write(principal.tenant).await?;
    check_plugins(&mut tx, endings).await?;
    acknowledge(&mut tx, endings, now).await?;
    locks::take(&mut tx, endings).await?;
    room::take(platform, &mut tx, endings).await?;
    write_records(&mut tx, endings, now).await?;
    let replaced = write_files(platform, &mut tx, endings).await?;
    let published = publish(platform, &mut tx, endings, now).await?;
    cancel(&mut tx, endings, now).await?;
    let mut queued = Vec::new();
    for ending in endings {
        let (cause, by) = (&ending.unit.cause, ending.by());
        let jobs = ending.unit.jobs.iter();
        queued.extend(jobs.map(|(job, plugin)| Enqueue { job, plugin, event: None, cause, by }));
    }
    let steps = next_steps(platform, endings, now);
    queued.extend(steps.iter().map(|(job, plugin, cause)| Enqueue { job, plugin, event: None, cause, by: None }));
    // Where workers have nothing to do, they run the new jobs as soon as these are committed.
    let accepted = if published { None } else { offers::accept(platform, principal.tenant, &queued, now) };
    if accepted.is_none() {
        jobs::insert(&mut tx, &queued, now).await?;
    }
    let entries = endings.iter().map(|ending| (&ending.unit.principal, ending.unit.audit_entries()));
    audit::append_all(platform, &mut tx, entries, now).await?;
    for Ending { unit, .. } in endings {
        if let Some(key) = &unit.principal.idempotency {
            idempotency::keep(platform, &mut tx, &unit.principal, key, &unit.reply, now).await?;
        }
    }
    let mut stored = tx.stored();
    if accepted.is_some() {
        stored.jobs += jobs::bytes(&queued);
    }
    let leased = match accepted {
        Some(accepted) => offers::add(platform, tx, &queued, accepted, now).await??,
        None => {
            tx.commit().await?;
            0
        }
    };
    storage::count(platform, principal.tenant, stored, now);
    files::forget_contents(platform, principal.tenant, replaced);
    let opens_lane = endings.iter().any(|ending| ending.ack.as_ref().is_some_and(|ack| ack.lane.is_some()));
    if published || opens_lane {
        platform.wake_workers();
    } else if queued.len() > leased {
        wake_workers_for(platform, principal.tenant, &queued, now);
    }
    if queued.iter().any(|e| e.job.run_at > now) {
        platform.scheduled.notify_one();
    }
    if queued.len() > leased {
        // The claim is on its way to the database before the answer is made up.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Cancel what the units cancel.
async fn cancel(tx: &mut TenantTx, endings: &[Ending], now: Timestamp) -> Result<(), CommitError> {
    for Ending { unit, .. } in endings {
        for (id, plugin) in &unit.cancels {
            if !jobs::cancel(tx, *id, Some(plugin), now).await? {
                return Err(CommitError::Conflict(format!("job {id} started meanwhile")));
            }
        }
    }
    Ok(())
}

/// Tell the workers which groups the new jobs are of, so that they need not look who waits.
fn wake_workers_for(platform: &Platform, tenant: TenantId, queued: &[Enqueue<'_>], now: Timestamp) {
    let Some(plan) = backlog::plan(platform, tenant) else { return platform.wake_workers() };
    let mut groups: Vec<Group> = Vec::new();
    for Enqueue { job, plugin, .. } in queued.iter().filter(|e| e.job.run_at <= now) {
        if groups.iter().all(|g| (g.queue, &*g.plugin, &*g.kind) != (job.queue, *plugin, &*job.kind)) {
            let (plugin, kind) = ((*plugin).to_owned(), job.kind.clone());
            let plan = plan.clone();
            groups.push(Group { queue: job.queue, tenant_id: tenant, plugin, kind, plan, is_runnable: true });
        }
    }
    if !groups.is_empty() {
        platform.wake_workers_for(groups);
    }
}

/// Write that their jobs ended well, if the claims still hold.
async fn acknowledge(tx: &mut TenantTx, endings: &[Ending], now: Timestamp) -> Result<(), CommitError> {
    let ended: Vec<Ended<'_>> = endings
        .iter()
        .filter_map(|Ending { unit, ack }| {
            let Ack { fence, place, lane, result } = ack.as_ref()?;
            Some(Ended {
                fence: *fence,
                place,
                lane: lane.as_deref(),
                result: result.as_ref(),
                progress: unit.progress.as_ref(),
            })
        })
        .collect();
    if jobs::finish_all(tx, &ended, now).await? { Ok(()) } else { Err(CommitError::LeaseLost) }
}

/// What a plugin was allowed when it began must still be what it is allowed. What is written was
/// checked against the schema of a version, and has the keys and marks that this one declares:
/// its plugin must still run it, and until this is committed.
async fn check_plugins(tx: &mut TenantTx, endings: &[Ending]) -> Result<(), CommitError> {
    let mut written: BTreeMap<&str, Option<VersionId>> = BTreeMap::new();
    for Ending { unit, .. } in endings {
        for (of, _) in unit.writes.keys() {
            let checked = unit.plugins.get(&of.plugin).map(|loaded| loaded.version);
            if *written.entry(&of.plugin).or_insert(checked) != checked {
                return Err(CommitError::Conflict(format!("{} changed its version meanwhile", of.plugin)));
            }
        }
    }
    let mut now: BTreeMap<&str, Option<Installation>> = BTreeMap::new();
    for plugin in written.keys() {
        now.insert(plugin, installations::hold_consent(tx, plugin).await?);
    }
    for began in endings.iter().filter_map(|ending| Some(&ending.unit.plugin.as_ref()?.installation)) {
        let plugin = began.plugin.as_str();
        if !now.contains_key(plugin) {
            now.insert(plugin, installations::consent(tx, plugin).await?);
        }
        let same = |now: &Installation| {
            now.state == began.state && now.version_id == began.version_id && now.grants == began.grants
        };
        if !now.get(plugin).is_some_and(|now| now.as_ref().is_some_and(same)) {
            return Err(CommitError::Withdrawn);
        }
    }
    for (plugin, checked) in written {
        let runs = now.get(plugin).and_then(Option::as_ref).filter(|now| now.state == "enabled");
        if checked.is_none() || runs.map(|now| now.version_id) != checked {
            return Err(CommitError::Conflict(format!("{plugin} runs in another version now, or not at all")));
        }
    }
    Ok(())
}

async fn write_records(tx: &mut TenantTx, endings: &[Ending], now: Timestamp) -> Result<(), CommitError> {
    // What was read must still be as it was, and what is rewritten must be what was read.
    // Keys that are given up go first: another write may claim them.
    let mut touched: BTreeMap<&Key, &Ending> = BTreeMap::new();
    for ending in endings {
        touched.extend(ending.unit.touched().map(|key| (key, ending)));
    }
    for (key @ (of, id), ending) in touched {
        let unit = &ending.unit;
        let holds = match (unit.writes.get(key), unit.seen.get(key)) {
            (Some(Write::Create(_)), _) | (None, None) => true,
            (Some(Write::Update { before, after }), _) => {
                let updated =
                    records::update(tx, of, *id, before.version, &after.data, after.updated_at, ending.by()).await?;
                if updated && unit.keys(of, &before.data) != unit.keys(of, &after.data) {
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
    let (mut new, mut claims) = (Vec::new(), Vec::new());
    for ending in endings {
        let unit = &ending.unit;
        for ((of, id), write) in &unit.writes {
            let keys = match write {
                Write::Create(record) => {
                    new.push((of, record, ending.by()));
                    unit.keys(of, &record.data)
                }
                Write::Update { before, after } if unit.keys(of, &before.data) != unit.keys(of, &after.data) => {
                    unit.keys(of, &after.data)
                }
                Write::Update { .. } | Write::Delete { .. } => continue,
            };
            claims.extend(keys.into_iter().map(|key| (of, *id, key)));
        }
    }
    records::insert(tx, &new).await?;
    let mut references = Vec::new();
    for ending in endings {
        let (made, gone) = ending.unit.made_references();
        for (of, id) in gone {
            record_references::delete_of(tx, of, *id).await?;
        }
        references.extend(made);
    }
    record_references::insert(tx, &references, now).await?;
    let mut marks = Vec::new();
    for ending in endings {
        let (made, gone) = ending.unit.made_marks();
        for (of, id) in gone {
            record_marks::delete_of(tx, of, &[*id]).await?;
        }
        marks.extend(made);
    }
    record_marks::insert(tx, marks, now).await?;
    Ok(records::insert_keys(tx, &claims, now).await?)
}

/// Put files in their places; the contents that no file names any more.
async fn write_files(platform: &Platform, tx: &mut TenantTx, endings: &[Ending]) -> Result<Vec<Uuid>, CommitError> {
    let (mut replaced, mut growth) = (Vec::new(), 0);
    for ending in endings {
        let unit = &ending.unit;
        let Some(plugin) = unit.plugin.as_ref().map(|plugin| &plugin.installation.plugin) else { continue };
        let keys: BTreeSet<&String> = unit.files_seen.keys().chain(unit.files.keys()).collect();
        for key in keys {
            let present = plugin_files::hold(tx, plugin, key).await?;
            let content = present.as_ref().map(|file| file.id);
            if unit.files_seen.get(key).is_some_and(|seen| content != Some(*seen)) {
                return Err(CommitError::Conflict(format!("the file {key} changed meanwhile")));
            }
            let Some(write) = unit.files.get(key) else { continue };
            growth -= present.map_or(0, |file| file.bytes);
            replaced.extend(content);
            match write {
                FileWrite::Put { file, .. } => {
                    growth += file.bytes;
                    plugin_files::put(tx, plugin, file, ending.by()).await?;
                }
                FileWrite::Delete => plugin_files::delete(tx, plugin, key).await?,
            }
        }
    }
    if growth != 0 {
        storage::grow(platform, tx, Kind::Files, growth).await?;
    }
    Ok(replaced)
}

/// The steps that are to be taken again, each the begin of a chain of its own.
fn next_steps(platform: &Platform, endings: &[Ending], now: Timestamp) -> Vec<(NewJob, String, Cause)> {
    let next = |ending: &Ending| {
        let (step, rounds) = ending.unit.again.as_ref()?;
        let plugin = ending.unit.plugin.as_ref()?.installation.plugin.clone();
        let job = lifecycle::job(platform, &plugin, step, rounds + 1, now);
        let cause = Cause { root: platform.clock.id(), event: None, depth: 0, ..ending.unit.cause.clone() };
        Some((job, plugin, cause))
    };
    endings.iter().filter_map(next).collect()
}

/// Publish what the host has to tell of every write, and what the units had; whether there
/// was anything.
async fn publish(
    platform: &Platform,
    tx: &mut TenantTx,
    endings: &[Ending],
    now: Timestamp,
) -> Result<bool, CommitError> {
    let of_records: Vec<Vec<NewEvent>> = endings.iter().map(|ending| ending.unit.record_events()).collect();
    let mut new = Vec::new();
    for (ending, of_records) in endings.iter().zip(&of_records) {
        let (cause, by) = (&ending.unit.cause, ending.by());
        let events = of_records.iter().chain(&ending.unit.events);
        new.extend(events.map(|event| Publish { event, cause, by }));
    }
    events::publish(platform, tx, &new, now).await?;
    Ok(!new.is_empty())
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
            && self.files.is_empty()
            && self.again.is_none()
    }

    /// Refuse what a job returned when it is too large to be kept.
    pub fn check_result(&self, result: Option<&Json>) -> Result<(), ServiceError> {
        result.map_or(Ok(()), |result| self.payload_within(result).map(drop).map_err(ServiceError::from))
    }

    /// Commit everything together, with the acknowledgement where there is one.
    pub async fn commit(self, ack: Option<Ack>) -> Result<(), CommitError> {
        commit(&[Ending { unit: Box::new(self), ack }]).await
    }

    /// The records that were seen or are written.
    pub(super) fn touched(&self) -> impl Iterator<Item = &Key> {
        self.seen.keys().chain(self.writes.keys())
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
            let (verb, mut changes) = match write {
                Write::Create(record) => ("created", difference(&empty, &record.data)),
                Write::Update { before, after } => ("updated", difference(&before.data, &after.data)),
                Write::Delete { before } => ("deleted", difference(&before.data, &empty)),
            };
            let owner = self.plugins.get(&of.plugin);
            if let Some(personal) = owner.and_then(|owner| owner.personal_data(&of.collection)) {
                personal.mask(&mut changes);
            }
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
