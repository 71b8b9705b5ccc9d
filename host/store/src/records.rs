//! Records: the rows of every plugin's collections, and their unique keys.

use purlin_domain::{
    Json, Timestamp,
    filter::Filter,
    id::{RecordId, UserId},
    mark::Lookup,
    record::{CollectionRef, Record},
    text::folded_members,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Listing, Page, Result, Slice, TenantTx, Weigh,
    built::PAGE_BYTES_MAX,
    value::{Bind, params},
};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    version: i64,
    #[sqlx(try_from = "crate::document::Document")]
    data: Json,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Weigh for Row {
    fn bytes(&self) -> usize {
        self.data.to_string().len()
    }
}

impl From<Row> for Record {
    fn from(row: Row) -> Self {
        Self {
            id: RecordId(row.id),
            version: row.version,
            data: row.data,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The record of this id.
pub async fn by_id(tx: &mut TenantTx, of: &CollectionRef, id: RecordId) -> Result<Option<Record>> {
    let row: Option<Row> = tx
        .fetch_optional(
            "SELECT id, version, data, created_at, updated_at FROM records
             WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND id = $4",
            params![&of.plugin, &of.collection, id],
        )
        .await?;
    Ok(row.map(Record::from))
}

/// Whether there is a record of this id.
pub async fn exists(tx: &mut TenantTx, of: &CollectionRef, id: RecordId) -> Result<bool> {
    let row: Option<(i64,)> = tx
        .fetch_optional(
            "SELECT version FROM records WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND id = $4",
            params![&of.plugin, &of.collection, id],
        )
        .await?;
    Ok(row.is_some())
}

/// The version a record has now, held so until the transaction ends.
pub async fn hold_version(tx: &mut TenantTx, of: &CollectionRef, id: RecordId) -> Result<Option<i64>> {
    let sql = if tx.conn.is_postgres() {
        "SELECT version FROM records WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND id = $4 FOR SHARE"
    } else {
        // The writer is alone.
        "SELECT version FROM records WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND id = $4"
    };
    let row: Option<(i64,)> = tx.fetch_optional(sql, params![&of.plugin, &of.collection, id]).await?;
    Ok(row.map(|(version,)| version))
}

/// The records of a collection in the order of their ids, so many at most and fewer where they are
/// large; where `hold` says so, held as they are until the transaction ends.
pub async fn after(
    tx: &mut TenantTx,
    of: &CollectionRef,
    after: Option<RecordId>,
    most: u32,
    hold: bool,
) -> Result<Vec<Record>> {
    macro_rules! after {
        ($lock:literal) => {
            concat!(
                "SELECT id, version, data, created_at, updated_at FROM records
                 WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND id > $4 ORDER BY id LIMIT $5",
                $lock
            )
        };
    }
    // In SQLite the writer is alone.
    let sql = if hold && tx.conn.is_postgres() { after!(" FOR SHARE") } else { after!("") };
    let after = after.map_or(Uuid::nil(), |id| id.0);
    let (rows, _): (Vec<Row>, bool) =
        tx.fetch_within(sql, params![&of.plugin, &of.collection, after, most], PAGE_BYTES_MAX).await?;
    Ok(rows.into_iter().map(Record::from).collect())
}

/// Add records, each by whoever made it.
pub async fn insert(tx: &mut TenantTx, new: &[(&CollectionRef, &Record, Option<UserId>)]) -> Result<()> {
    let columns = [
        "plugin",
        "collection",
        "id",
        "version",
        "data",
        "folded",
        "created_at",
        "updated_at",
        "created_by",
        "updated_by",
    ];
    let rows = new.iter().map(|(of, r, by)| {
        let folded = folded_members(&r.data);
        params![&of.plugin, &of.collection, r.id, r.version, &r.data, folded, r.created_at, r.created_at, *by, *by]
    });
    tx.insert_later("records", &columns, rows.collect()).await
}

/// Replace a record's data if it still has `version`; whether it had.
pub async fn update(
    tx: &mut TenantTx,
    of: &CollectionRef,
    id: RecordId,
    version: i64,
    data: &Json,
    now: Timestamp,
    by: Option<UserId>,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE records SET data = $6, folded = $9, version = version + 1, updated_at = $7, updated_by = $8
             WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND id = $4 AND version = $5",
            params![&of.plugin, &of.collection, id, version, data, now, by, folded_members(data)],
        )
        .await?;
    Ok(changed == 1)
}

/// Delete a record, its keys with it, if it still has `version`; whether it had.
pub async fn delete(tx: &mut TenantTx, of: &CollectionRef, id: RecordId, version: i64) -> Result<bool> {
    let changed = tx
        .execute(
            "DELETE FROM records WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND id = $4 AND version = $5",
            params![&of.plugin, &of.collection, id, version],
        )
        .await?;
    Ok(changed == 1)
}

/// Claim unique keys for records; a key that is taken fails with `Taken`.
pub async fn insert_keys(
    tx: &mut TenantTx,
    claims: &[(&CollectionRef, RecordId, (String, String))],
    now: Timestamp,
) -> Result<()> {
    let rows = claims.iter().map(|(of, id, (key, value))| params![&of.plugin, &of.collection, key, value, *id, now]);
    tx.insert_many("record_keys", &["plugin", "collection", "key", "value", "record_id", "created_at"], rows.collect())
        .await
}

/// Give up a record's unique keys.
pub async fn delete_keys(tx: &mut TenantTx, of: &CollectionRef, id: RecordId) -> Result<()> {
    tx.execute(
        "DELETE FROM record_keys WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND record_id = $4",
        params![&of.plugin, &of.collection, id],
    )
    .await?;
    Ok(())
}

/// The record that holds a unique key.
pub async fn holder_of_key(tx: &mut TenantTx, of: &CollectionRef, key: &str, value: &str) -> Result<Option<RecordId>> {
    let row: Option<(Uuid,)> = tx
        .fetch_optional(
            "SELECT record_id FROM record_keys
             WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND key = $4 AND value = $5",
            params![&of.plugin, &of.collection, key, value],
        )
        .await?;
    Ok(row.map(|(id,)| RecordId(id)))
}

/// A page of a collection.
pub async fn list(tx: &mut TenantTx, of: &CollectionRef, slice: &Slice<'_>) -> Result<Page<Record>> {
    let columns = &["id", "version", "data", "created_at", "updated_at"];
    let page: Page<Row> = tx.list(&Listing { table: "records", columns, scope: scope(of), slice }).await?;
    Ok(Page { rows: page.rows.into_iter().map(Record::from).collect(), more: page.more, total: page.total })
}

/// How many records of a collection pass; those that pass are all among what is looked up.
pub async fn count(tx: &mut TenantTx, of: &CollectionRef, filter: &Filter, lookup: Option<&Lookup>) -> Result<i64> {
    tx.count("records", &scope(of), filter, lookup).await
}

fn scope(of: &CollectionRef) -> Vec<(&'static str, Option<sea_query::Value>)> {
    vec![("plugin", Some((&of.plugin).bind())), ("collection", Some((&of.collection).bind()))]
}
