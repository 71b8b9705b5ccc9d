//! Collections over HTTP: the same unit of work as a plugin's, for one request.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use purlin_domain::{
    Json,
    access::Permission,
    id::{RecordId, TenantId},
    principal::Principal,
    record::{CollectionRef, Record},
};

use purlin_store::{Slice, records};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Platform, Result, ServiceError, access, catalog, indexes,
    list::{ListPage, ListQuery, Prepared},
    unit::{CommitError, Unit},
};

/// A record.
pub async fn get(platform: &Arc<Platform>, principal: &Principal, of: &CollectionRef, id: RecordId) -> Result<Record> {
    Ok(Unit::for_request(platform, principal).get(of, id).await?)
}

/// A page of a collection.
pub async fn list(
    platform: &Platform,
    principal: &Principal,
    of: &CollectionRef,
    query: &ListQuery,
) -> Result<ListPage<Record>> {
    access::require(principal, &Permission::new(of.resource(), "read"))?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let plugin = catalog::served_plugin(platform, &mut tx, &of.plugin).await?;
    let collection = plugin.loaded.descriptor.collection(&of.collection).ok_or(ServiceError::NotFound)?;
    let resource = format!("apps/{}/{}", of.plugin, of.collection);
    let prepared = Prepared::new(platform, principal.tenant, &resource, &collection.fields(), query)?;
    let lookup = indexes::lookup(&mut tx, of, collection, &prepared.filter).await?;
    let slice = Slice { lookup: lookup.as_ref(), ..prepared.slice() };
    let page = records::list(&mut tx, of, &slice).await?;
    Ok(prepared.page(platform, page))
}

/// Create a record.
pub async fn create(platform: &Arc<Platform>, principal: &Principal, of: &CollectionRef, data: Json) -> Result<Record> {
    written(change(platform, principal, of, &Change::Create { data }).await?)
}

/// Change a record by a JSON Merge Patch (RFC 7396); with `expected`, only that version.
pub async fn patch(
    platform: &Arc<Platform>,
    principal: &Principal,
    of: &CollectionRef,
    id: RecordId,
    patch: Json,
    expected: Option<i64>,
) -> Result<Record> {
    written(change(platform, principal, of, &Change::Patch { id, patch, expected }).await?)
}

/// Delete a record; with `expected`, only that version.
pub async fn delete(
    platform: &Arc<Platform>,
    principal: &Principal,
    of: &CollectionRef,
    id: RecordId,
    expected: Option<i64>,
) -> Result<()> {
    change(platform, principal, of, &Change::Delete { id, expected }).await.map(drop)
}

enum Change {
    Create { data: Json },
    Patch { id: RecordId, patch: Json, expected: Option<i64> },
    Delete { id: RecordId, expected: Option<i64> },
}

impl Change {
    /// The record that is there already.
    fn id(&self) -> Option<RecordId> {
        match self {
            Self::Create { .. } => None,
            Self::Patch { id, .. } | Self::Delete { id, .. } => Some(*id),
        }
    }
}

/// A request that lost a race is done again, as an invocation would be.
async fn change(
    platform: &Arc<Platform>,
    principal: &Principal,
    of: &CollectionRef,
    change: &Change,
) -> Result<Option<Record>> {
    let key = (principal.tenant, of.clone(), change.id());
    // Those who change a record take turns on this host, rather than to meet at the commit. Others may
    // still come in between: on other hosts, and plugins.
    let until = Instant::now() + PATIENCE;
    let turn = change.id().map(|_| platform.writers.turn(&key));
    let _turn = match &turn {
        Some(turn) => Some(timeout_at(until, turn.lock()).await.map_err(|_| busy())?),
        None => None,
    };
    let mut pause = Duration::from_millis(2);
    loop {
        match attempt(Unit::for_request(platform, principal), of, change).await {
            Ok(record) => return Ok(record),
            Err(CommitError::Failed(error)) => return Err(error),
            Err(CommitError::LeaseLost | CommitError::Withdrawn) => {
                return Err(ServiceError::internal("a request has no lease to lose"));
            }
            Err(CommitError::Conflict(_)) if Instant::now() < until => {
                sleep(pause.mul_f64(rand::random())).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(CommitError::Conflict(why)) => return Err(ServiceError::Conflict("conflict", why)),
        }
    }
}

fn busy() -> ServiceError {
    ServiceError::Unavailable("very many change this record at the moment".to_owned())
}

/// How long a change meets others before it is refused: two seconds less than a request may take.
const PATIENCE: Duration = Duration::from_secs(28);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Whose turn it is to change a record, on this host.
pub(crate) struct Writers(Cache<WriterKey, Arc<Mutex<()>>>);

type WriterKey = (TenantId, CollectionRef, Option<RecordId>);

/// Records that are remembered at the same time.
const RECORDS_MAX: u64 = 10_000;

impl Writers {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(RECORDS_MAX).time_to_idle(Duration::from_secs(60)).build())
    }

    fn turn(&self, key: &WriterKey) -> Arc<Mutex<()>> {
        self.0.get_with_by_ref(key, Arc::default)
    }
}

/// Do it once. What is refused because something changed meanwhile is a conflict, too.
async fn attempt(
    mut unit: Unit,
    of: &CollectionRef,
    change: &Change,
) -> std::result::Result<Option<Record>, CommitError> {
    let done = gather(&mut unit, of, change).await;
    if unit.is_stale() {
        return Err(CommitError::Conflict("the record changed meanwhile".to_owned()));
    }
    match done? {
        (record, true) => {
            unit.answer(serde_json::to_value(&record).map_err(ServiceError::internal)?);
            unit.commit(None).await.map(|()| record)
        }
        (record, false) => Ok(record),
    }
}

/// Gather the change in the unit; the record after it, and whether there is anything to commit.
async fn gather(unit: &mut Unit, of: &CollectionRef, change: &Change) -> Result<(Option<Record>, bool)> {
    Ok(match change {
        Change::Create { data } => (Some(unit.create(of, data.clone()).await?), true),
        Change::Patch { id, patch, expected } => {
            let before = unit.find(of, *id).await?;
            expect(&before, *expected)?;
            let after = unit.patch(of, *id, patch, Some(before.version)).await?;
            let is_changed = after.version != before.version;
            (Some(after), is_changed)
        }
        Change::Delete { id, expected } => {
            let before = unit.find(of, *id).await?;
            expect(&before, *expected)?;
            unit.delete(of, *id, Some(before.version)).await?;
            (None, true)
        }
    })
}

fn expect(record: &Record, expected: Option<i64>) -> Result<()> {
    match expected {
        Some(version) if version != record.version => Err(ServiceError::PreconditionFailed),
        _ => Ok(()),
    }
}

fn written(record: Option<Record>) -> Result<Record> {
    record.ok_or_else(|| ServiceError::internal("a write gave no record"))
}
