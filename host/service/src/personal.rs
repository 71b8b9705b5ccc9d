//! Personal data in collections: shown to whoever asks on behalf of a person, and erased.

use std::sync::Arc;

use chrono::TimeDelta;
use purlin_domain::{
    Json, Timestamp,
    audit::AuditEntry,
    descriptor::PersonalData,
    event::NewEvent,
    filter::{Field, FieldType, Filter, Op, Operand},
    id::{EventId, RecordId, TenantId, UserId},
    job::NewJob,
    principal::Principal,
    record::{CollectionRef, Record},
    sort::SortKey,
};
use purlin_store::{
    Slice, StoreError, TenantTx,
    events::{self as stored_events, Publish},
    installations,
    jobs::{self, Enqueue},
    record_marks, records, users,
};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError, audit, catalog, events, idempotency,
    list::{ListPage, PageInfo},
    storage::{self, Kind},
};

/// Records looked at, and erased, in one transaction.
const AT_ONCE: u32 = 200;

/// A collection with personal data about users, and which property names the user.
struct About {
    of: CollectionRef,
    personal: PersonalData,
    subject: Field,
}

/// Erase what is personal of a record that need not be about a user: the record as it is then.
pub async fn erase(
    platform: &Arc<Platform>,
    principal: &Principal,
    of: &CollectionRef,
    id: RecordId,
) -> Result<Record> {
    let mut tx = platform.db.write(principal.tenant).await?;
    let plugin = catalog::served_plugin(platform, &mut tx, &of.plugin).await?;
    plugin.loaded.descriptor.collection(&of.collection).ok_or(ServiceError::NotFound)?;
    let personal = plugin.loaded.personal_data(&of.collection).ok_or_else(|| {
        ServiceError::Conflict("no_personal_data", "the collection declares no personal data".to_owned())
    })?;
    let record = records::by_id(&mut tx, of, id).await?.ok_or(ServiceError::NotFound)?;
    let now = platform.now();
    let Some(after) = erase_one(platform, &mut tx, principal, of, personal, record.clone(), now).await? else {
        return Ok(record);
    };
    erase_relayed_later(platform, &mut tx, principal, now).await?;
    if let Some(key) = &principal.idempotency {
        let reply = serde_json::to_value(&after).map_err(ServiceError::internal)?;
        idempotency::keep(platform, &mut tx, principal, key, &reply, now).await?;
    }
    tx.commit().await?;
    platform.wake_workers();
    Ok(after)
}

/// Erase what is personal in all records about a user, so many in one transaction; they stay
/// erased when a later one fails.
pub(crate) async fn erase_about(platform: &Platform, principal: &Principal, user: UserId) -> Result<u64> {
    let mut erased = 0;
    for about in collections(platform, principal.tenant).await? {
        let mut after = None;
        loop {
            let mut tx = platform.db.write(principal.tenant).await?;
            let found = page(&mut tx, &about, user, after).await?;
            let Some(last) = found.last().map(|record| record.id) else { break };
            after = Some(last);
            let now = platform.now();
            let mut count = 0;
            for record in found {
                let done = erase_one(platform, &mut tx, principal, &about.of, &about.personal, record, now).await?;
                count += u64::from(done.is_some());
            }
            if count > 0 {
                tx.commit().await?;
                platform.wake_workers();
            }
            erased += count;
        }
        erase_events_of_deleted(platform, principal.tenant, &about, user).await?;
    }
    Ok(erased)
}

/// Erase the events of records about a user that were deleted before.
async fn erase_events_of_deleted(platform: &Platform, tenant: TenantId, about: &About, user: UserId) -> Result<()> {
    let of = about.of.resource();
    let types = ["created", "updated", "deleted"].map(|verb| format!("{of}.{verb}"));
    let types = types.each_ref().map(String::as_str);
    loop {
        let mut tx = platform.db.write(tenant).await?;
        let (property, user) = (&about.subject.name, user.to_string());
        let subjects = stored_events::subjects_about(&mut tx, types, property, &user, AT_ONCE).await?;
        for subject in &subjects {
            stored_events::erase_subject(&mut tx, subject, &json!({ "id": subject, "erased": true })).await?;
        }
        tx.commit().await?;
        if subjects.is_empty() {
            return Ok(());
        }
    }
}

/// The kind of the job that deletes erased events from the stream of the bus.
pub(crate) const ERASE_RELAYED: &str = "erase_relayed_events";
/// Entries of the stream that are looked at together.
const ENTRIES_AT_ONCE: usize = 500;
/// What was read before it was erased is in the stream by then.
const RELAYED_WITHIN: TimeDelta = TimeDelta::seconds(5);

/// Have the stream of the bus forget what was erased, where there is one, with the transaction that
/// erases it.
pub(crate) async fn erase_relayed_later(
    platform: &Platform,
    tx: &mut TenantTx,
    principal: &Principal,
    now: Timestamp,
) -> Result<()> {
    if platform.settings.event_stream.is_none() || platform.bus.is_none() {
        return Ok(());
    }
    let job = NewJob { run_at: now + RELAYED_WITHIN, ..NewJob::new(platform.id(), ERASE_RELAYED, json!({}), now) };
    let (by, cause) = (principal.actor.user(), platform.first_cause(principal.actor.user(), principal.origin.trace));
    Ok(jobs::insert(tx, &[Enqueue { by, ..Enqueue::core(&job, &cause) }], now).await?)
}

/// Delete the entries of the stream whose events were erased.
pub(crate) async fn erase_relayed(platform: &Platform, tenant: TenantId) -> Result<()> {
    let (Some(stream), Some(bus)) = (&platform.settings.event_stream, &platform.bus) else { return Ok(()) };
    let unreachable = |error: StoreError| ServiceError::Unavailable(format!("the bus: {error}"));
    let mut after = String::new();
    loop {
        let entries = bus.entries(stream, &after, ENTRIES_AT_ONCE).await.map_err(unreachable)?;
        let Some([last, ..]) = entries.last() else { return Ok(()) };
        after.clone_from(last);
        let own = entries.into_iter().filter(|[_, of, _]| *of == tenant.to_string());
        let own: Vec<(EventId, String)> = own.filter_map(|[id, _, event]| Some((event_id(&event)?, id))).collect();
        let ids: Vec<EventId> = own.iter().map(|(event, _)| *event).collect();
        let erased = stored_events::erased_among(&mut platform.db.read(tenant).await?, &ids).await?;
        let gone: Vec<String> = own.into_iter().filter(|(id, _)| erased.contains(id)).map(|(_, entry)| entry).collect();
        if !gone.is_empty() {
            bus.delete_entries(stream, &gone).await.map_err(unreachable)?;
        }
    }
}

fn event_id(event: &str) -> Option<EventId> {
    let event: Json = serde_json::from_str(event).ok()?;
    event.get("id")?.as_str()?.parse().ok().map(EventId)
}

/// Erase what is personal of one record, and of the events about it; nothing where nothing
/// is. The schema and the plugin are not asked: the law stands above them.
async fn erase_one(
    platform: &Platform,
    tx: &mut TenantTx,
    principal: &Principal,
    of: &CollectionRef,
    personal: &PersonalData,
    record: Record,
    now: Timestamp,
) -> Result<Option<Record>> {
    let Some(data) = personal.erased(&record.data) else { return Ok(None) };
    let by = principal.actor.user();
    if !records::update(tx, of, record.id, record.version, &data, now, by).await? {
        return Err(crate::change::conflict());
    }
    record_marks::delete_of_properties(tx, of, record.id, &personal.properties).await?;
    let bytes = |data: &Json| i64::try_from(data.to_string().len()).unwrap_or(0);
    storage::grow(platform, tx, Kind::Records, bytes(&data) - bytes(&record.data)).await?;
    let (id, version) = (record.id, record.version + 1);
    stored_events::erase_subject(tx, &id.to_string(), &json!({ "id": id, "erased": true })).await?;
    let event = NewEvent {
        id: platform.id(),
        source: format!("/plugins/{}", of.plugin),
        event_type: format!("{}.erased", of.resource()),
        subject: Some(id.to_string()),
        data: json!({ "id": id, "version": version }),
    };
    let cause = platform.first_cause(by, principal.origin.trace);
    events::publish(platform, tx, &[Publish { event: &event, cause: &cause, by }], now).await?;
    let entry = AuditEntry {
        action: format!("{}.erased", of.resource()),
        resource_type: of.resource(),
        resource_id: Some(id.to_string()),
        changes: json!({ "personal_data": { "before": "***", "after": null } }),
    };
    audit::append(platform, tx, principal, vec![entry], now).await?;
    Ok(Some(Record { data, version, updated_at: now, ..record }))
}

/// Collections of the tenant's plugins, enabled or not, with personal data about users.
async fn collections(platform: &Platform, tenant: TenantId) -> Result<Vec<About>> {
    let mut tx = platform.db.read(tenant).await?;
    let mut all = Vec::new();
    for installation in installations::list(&mut tx).await? {
        let loaded = platform.catalog.load(&mut tx, &installation).await?;
        for collection in &loaded.descriptor.collections {
            let Some(personal) = collection.personal_data.clone() else { continue };
            let subject = personal.subject.clone().unwrap_or_default();
            let Some(subject) = collection.fields().into_iter().find(|field| field.name == subject) else { continue };
            let of = CollectionRef { plugin: installation.plugin.clone(), collection: collection.name.clone() };
            all.push(About { of, personal, subject });
        }
    }
    Ok(all)
}

/// Records about a user, in the order of their ids, after this one.
async fn page(tx: &mut TenantTx, about: &About, user: UserId, after: Option<RecordId>) -> Result<Vec<Record>> {
    let is_about = Filter::Is(about.subject.clone(), Op::Eq, vec![Operand::Text(user.to_string())]);
    let sort = [SortKey { field: Field::column("id", FieldType::Uuid), descending: false }];
    let from = after.map(|id| vec![Some(Operand::Uuid(id.0))]);
    let slice = Slice { from: from.as_deref(), ..Slice::first(&is_about, &sort, AT_ONCE) };
    Ok(records::list(tx, &about.of, &slice).await?.rows)
}

/// A page of what is personal of a user: first the user, then records about them, collection
/// by collection.
pub(crate) async fn export(
    platform: &Platform,
    principal: &Principal,
    user: UserId,
    from: Option<&str>,
) -> Result<ListPage<Json>> {
    let all = collections(platform, principal.tenant).await?;
    let (mut at, mut after, mut data) = (0, None, Vec::new());
    match from {
        Some(from) => (at, after) = place(from)?,
        None => {
            let mut tx = platform.db.read(principal.tenant).await?;
            let user = users::by_id(&mut tx, user).await?.ok_or(ServiceError::NotFound)?;
            data.push(json!({ "of": "users", "id": user.id, "personal_data": user }));
        }
    }
    while let (true, Some(about)) = (data.len() < AT_ONCE as usize, all.get(at)) {
        let mut tx = platform.db.read(principal.tenant).await?;
        let found = page(&mut tx, about, user, after).await?;
        after = found.last().map(|record| record.id);
        let row = |r: &Record| json!({ "of": about.of.resource(), "id": r.id, "personal_data": about.personal.personal(&r.data) });
        data.extend(found.iter().map(row));
        if after.is_none() {
            at += 1;
        }
    }
    let next = all.get(at).map(|_| format!("{at}/{}", after.map(|id| id.to_string()).unwrap_or_default()));
    Ok(ListPage { data, page: PageInfo { size: AT_ONCE, next, prev: None, total: None } })
}

/// The collection and the record after which an export goes on.
fn place(from: &str) -> Result<(usize, Option<RecordId>)> {
    let lost = || ServiceError::internal("an export lost its place");
    let (at, after) = from.split_once('/').ok_or_else(lost)?;
    let after = if after.is_empty() { None } else { Some(RecordId(after.parse().map_err(|_| lost())?)) };
    Ok((at.parse().map_err(|_| lost())?, after))
}
