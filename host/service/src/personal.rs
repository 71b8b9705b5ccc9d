//! Personal data in collections: shown to whoever asks on behalf of a person, and erased.

use std::sync::Arc;

use purlin_domain::{
    Json, Timestamp,
    audit::AuditEntry,
    descriptor::PersonalData,
    event::NewEvent,
    filter::{Field, FieldType, Filter, Op, Operand},
    id::{RecordId, TenantId, UserId},
    principal::Principal,
    record::{CollectionRef, Record},
    sort::SortKey,
};
use purlin_store::{
    Slice, TenantTx,
    events::{self as stored_events, Publish},
    installations, record_marks, records, users,
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
    }
    Ok(erased)
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
