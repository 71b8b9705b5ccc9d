//! The indexes of collections. Every write keeps them; a job makes them for what was there
//! before a version declared them, and lists use one once it has every record.

use std::{collections::BTreeSet, sync::Arc};

use purlin_domain::{
    Json, Timestamp,
    descriptor::{Collection, Descriptor},
    filter::Filter,
    id::RecordId,
    job::NewJob,
    mark::Lookup,
    record::CollectionRef,
};
use purlin_store::{
    TenantTx,
    installations::{self, Installation},
    jobs::{self, Claimed, Outcome},
    record_marks::{self, NewMark},
    records,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Platform, Result, ServiceError, change::Mutation};

/// The kind of the job that makes indexes.
pub(crate) const KIND: &str = "index_records";
/// Records that are read, or marks that are forgotten, in one transaction.
const AT_ONCE: u32 = 200;

/// What such a job is about.
#[derive(Serialize, Deserialize)]
struct Task {
    plugin: String,
}

/// What to look up for this filter, where there is an index that has every record.
pub(crate) async fn lookup(
    tx: &mut TenantTx,
    of: &CollectionRef,
    collection: &Collection,
    filter: &Filter,
) -> Result<Option<Lookup>> {
    if filter.lookup(&collection.indexed).is_none() {
        return Ok(None);
    }
    let ready = names(&installations::indexed(tx, &of.plugin).await?);
    let is_ready = |property: &&String| ready.contains(&name(&collection.name, property));
    let indexed: Vec<String> = collection.indexed.iter().filter(is_ready).cloned().collect();
    Ok(filter.lookup(&indexed))
}

/// An installation runs this version from now on: keep what it still declares, and have made
/// what is missing, also where the job that was to make it ended before.
pub(crate) async fn settle(
    platform: &Platform,
    change: &mut Mutation<'_>,
    installation: &mut Installation,
    descriptor: &Descriptor,
) -> Result<()> {
    let (declared, before) = (declared(descriptor), names(&installation.indexed));
    let mut ready: BTreeSet<String> = before.intersection(&declared).cloned().collect();
    for collection in &descriptor.collections {
        let of = CollectionRef { plugin: descriptor.name.clone(), collection: collection.name.clone() };
        let is_missing = collection.indexed.iter().any(|property| !ready.contains(&name(&collection.name, property)));
        if is_missing && records::after(&mut change.tx, &of, None, 1, true).await?.is_empty() {
            ready.extend(collection.indexed.iter().map(|property| name(&collection.name, property)));
        }
    }
    if ready != before {
        let kept: Vec<String> = ready.iter().cloned().collect();
        installations::set_indexed(&mut change.tx, &descriptor.name, &kept).await?;
        installation.indexed = Json::from(kept);
    }
    if ready != declared || !before.is_subset(&declared) {
        let job = job(platform, &descriptor.name, change.now);
        change.enqueue(job);
    }
    Ok(())
}

/// One after the other for a plugin: each makes what is missing when it runs.
fn job(platform: &Platform, plugin: &str, now: Timestamp) -> NewJob {
    let payload = json!(Task { plugin: plugin.to_owned() });
    // No key that a plugin gives its own jobs begins so.
    let lane = format!("{plugin}//indexes");
    NewJob { ordering_key: Some(lane), ..NewJob::new(platform.id(), KIND, payload, now) }
}

/// Make what is missing and forget what is not declared. Whether the claim still held.
pub(crate) async fn run(platform: &Arc<Platform>, claimed: &Claimed) -> Result<bool> {
    let Task { plugin } =
        Task::deserialize(claimed.payload.as_ref().unwrap_or(&Json::Null)).map_err(ServiceError::internal)?;
    loop {
        let mut tx = platform.db.write(claimed.tenant_id).await?;
        let Some(installation) = installations::hold(&mut tx, &plugin).await? else {
            return finish(platform, tx, claimed).await;
        };
        let loaded = platform.catalog.load(&mut tx, &installation).await?;
        let declared = declared(&loaded.descriptor);
        let ready = names(&installation.indexed);
        let is_missing = |collection: &&Collection| {
            collection.indexed.iter().any(|property| !ready.contains(&name(&collection.name, property)))
        };
        let Some(collection) = loaded.descriptor.collections.iter().find(is_missing) else {
            let declared: Vec<String> = declared.into_iter().collect();
            if record_marks::keep_only(&mut tx, &plugin, &declared, AT_ONCE).await? == 0 {
                return finish(platform, tx, claimed).await;
            }
            tx.commit().await?;
            continue;
        };
        drop(tx);
        let of = CollectionRef { plugin: plugin.clone(), collection: collection.name.clone() };
        if !fill(platform, claimed, &of, collection).await? {
            return Ok(false);
        }
        // Another version that ran meanwhile may not have kept them.
        let mut tx = platform.db.write(claimed.tenant_id).await?;
        let now = installations::hold(&mut tx, &plugin).await?;
        if now.is_some_and(|now| now.updated_at == installation.updated_at && now.id == installation.id) {
            let made = collection.indexed.iter().map(|property| name(&collection.name, property));
            let ready: Vec<String> = ready.iter().cloned().chain(made).collect::<BTreeSet<_>>().into_iter().collect();
            installations::set_indexed(&mut tx, &plugin, &ready).await?;
            tx.commit().await?;
        }
    }
}

/// Give every record of a collection its marks; whether the claim still held.
async fn fill(platform: &Platform, claimed: &Claimed, of: &CollectionRef, collection: &Collection) -> Result<bool> {
    let (mut after, mut count): (Option<RecordId>, usize) = (None, 0);
    loop {
        let (mut tx, now) = (platform.db.write(claimed.tenant_id).await?, platform.now());
        let page = records::after(&mut tx, of, after, AT_ONCE, true).await?;
        let Some(last) = page.last() else { return Ok(true) };
        let ids: Vec<RecordId> = page.iter().map(|record| record.id).collect();
        record_marks::delete_of(&mut tx, of, &ids).await?;
        let marks = page.iter().flat_map(|record| {
            let marks = collection.marks(&record.data).into_iter();
            marks.map(|(property, mark)| NewMark { of, id: record.id, property, mark })
        });
        record_marks::insert(&mut tx, marks.collect(), now).await?;
        after = Some(last.id);
        count += page.len();
        let said = Some(format!("{count} records of {}", of.resource()));
        if !jobs::tell_progress(&mut tx, claimed.fence(), 0, said, now).await? {
            return Ok(false);
        }
        tx.commit().await?;
    }
}

async fn finish(platform: &Platform, mut tx: TenantTx, claimed: &Claimed) -> Result<bool> {
    let done = Outcome::Succeeded { result: None, progress: Some((100, None)) };
    let lane = claimed.ordering_key.as_deref();
    let held = jobs::finish(&mut tx, claimed.fence(), lane, &done, platform.now()).await?;
    tx.commit().await?;
    Ok(held)
}

/// Every index that a plugin declares.
fn declared(descriptor: &Descriptor) -> BTreeSet<String> {
    let of = |collection: &Collection| -> Vec<String> {
        collection.indexed.iter().map(|property| name(&collection.name, property)).collect()
    };
    descriptor.collections.iter().flat_map(of).collect()
}

fn name(collection: &str, property: &str) -> String {
    format!("{collection}.{property}")
}

/// The names that an installation keeps.
fn names(kept: &Json) -> BTreeSet<String> {
    kept.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}
