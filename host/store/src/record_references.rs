//! Which records of a plugin refer to which: those that cannot be deleted meanwhile.

use purlin_domain::{Json, Timestamp, id::RecordId, record::CollectionRef};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Result, TenantTx, value::params};

/// A record that refers to another one of its plugin.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Referrer {
    /// Its collection.
    pub collection: String,
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub record_id: RecordId,
}

/// A reference that is made: from a record by a property to a record.
#[derive(Clone, Debug)]
pub struct NewReference<'a> {
    /// The collection of the record that refers.
    pub of: &'a CollectionRef,
    /// The record that refers.
    pub id: RecordId,
    /// By which property.
    pub property: &'a str,
    /// To a record of which collection of the same plugin.
    pub to_collection: String,
    /// To which.
    pub to: RecordId,
}

/// Add references of records.
pub async fn insert(tx: &mut TenantTx, new: &[NewReference<'_>], now: Timestamp) -> Result<()> {
    let columns = ["plugin", "collection", "record_id", "property", "to_collection", "to_id", "created_at"];
    let rows = new
        .iter()
        .map(|r| params![&r.of.plugin, &r.of.collection, r.id, r.property, r.to_collection.as_str(), r.to, now]);
    tx.insert_later("record_references", &columns, rows.collect()).await
}

/// Forget what a record refers to.
pub async fn delete_of(tx: &mut TenantTx, of: &CollectionRef, id: RecordId) -> Result<()> {
    tx.execute(
        "DELETE FROM record_references WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND record_id = $4",
        params![&of.plugin, &of.collection, id],
    )
    .await?;
    Ok(())
}

/// Records that refer to this one, so many at most.
pub async fn to(tx: &mut TenantTx, of: &CollectionRef, id: RecordId, most: u32) -> Result<Vec<Referrer>> {
    tx.fetch_all(
        "SELECT DISTINCT collection, record_id FROM record_references
         WHERE tenant_id = $1 AND plugin = $2 AND to_collection = $3 AND to_id = $4
         ORDER BY collection, record_id LIMIT $5",
        params![&of.plugin, &of.collection, id, most],
    )
    .await
}

/// Forget the references of a plugin but those by these properties, each `collection.property`.
pub async fn keep_only(tx: &mut TenantTx, plugin: &str, declared: &[String]) -> Result<()> {
    let sql = if tx.conn.is_postgres() {
        "DELETE FROM record_references WHERE tenant_id = $1 AND plugin = $2
         AND collection || '.' || property NOT IN (SELECT value FROM jsonb_array_elements_text($3))"
    } else {
        "DELETE FROM record_references WHERE tenant_id = $1 AND plugin = $2
         AND collection || '.' || property NOT IN (SELECT value FROM json_each($3))"
    };
    tx.execute(sql, params![plugin, Json::from(declared)]).await?;
    Ok(())
}

/// Forget references of a plugin, so many at most; how many went.
pub async fn erase(tx: &mut TenantTx, plugin: &str, most: u32) -> Result<u64> {
    tx.execute(
        "DELETE FROM record_references WHERE tenant_id = $1 AND plugin = $2 AND (collection, record_id, property) IN (
            SELECT collection, record_id, property FROM record_references WHERE tenant_id = $1 AND plugin = $2 LIMIT $3)",
        params![plugin, most],
    )
    .await
}
