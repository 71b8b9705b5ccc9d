//! The indexes of collections: of each record and indexed property its mark.

use purlin_domain::{Json, Timestamp, id::RecordId, record::CollectionRef};

use crate::{Result, TenantTx, value::params};

/// A mark of a record.
#[derive(Clone, Debug)]
pub struct NewMark<'a> {
    /// Its collection.
    pub of: &'a CollectionRef,
    /// The record.
    pub id: RecordId,
    /// The property.
    pub property: &'a str,
    /// The mark.
    pub mark: String,
}

/// Add marks of records.
pub async fn insert(tx: &mut TenantTx, new: Vec<NewMark<'_>>, now: Timestamp) -> Result<()> {
    let columns = ["plugin", "collection", "property", "mark", "record_id", "created_at"];
    let rows = new.into_iter().map(|m| params![&m.of.plugin, &m.of.collection, m.property, m.mark, m.id, now]);
    tx.insert_later("record_marks", &columns, rows.collect()).await
}

/// Forget the marks of records of a collection.
pub async fn delete_of(tx: &mut TenantTx, of: &CollectionRef, ids: &[RecordId]) -> Result<()> {
    let sql = if tx.conn.is_postgres() {
        "DELETE FROM record_marks WHERE tenant_id = $1 AND plugin = $2 AND collection = $3
         AND record_id IN (SELECT CAST(value AS uuid) FROM jsonb_array_elements_text($4))"
    } else {
        "DELETE FROM record_marks WHERE tenant_id = $1 AND plugin = $2 AND collection = $3
         AND record_id IN (SELECT unhex(value) FROM json_each($4))"
    };
    let ids: Json = ids.iter().map(|id| id.0.simple().to_string()).collect();
    tx.execute(sql, params![&of.plugin, &of.collection, ids]).await?;
    Ok(())
}

/// Forget the marks of these properties of a record.
pub async fn delete_of_properties(
    tx: &mut TenantTx,
    of: &CollectionRef,
    id: RecordId,
    properties: &[String],
) -> Result<()> {
    macro_rules! delete {
        ($properties:literal) => {
            concat!(
                "DELETE FROM record_marks WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND record_id = $4
                 AND property IN (SELECT value FROM ",
                $properties,
                ")"
            )
        };
    }
    let sql = if tx.conn.is_postgres() { delete!("jsonb_array_elements_text($5)") } else { delete!("json_each($5)") };
    tx.execute(sql, params![&of.plugin, &of.collection, id, Json::from(properties)]).await?;
    Ok(())
}

/// Forget marks of a plugin but those of these properties, each `collection.property`; so many
/// at most. How many went.
pub async fn keep_only(tx: &mut TenantTx, plugin: &str, declared: &[String], most: u32) -> Result<u64> {
    macro_rules! delete {
        ($declared:literal) => {
            concat!(
                "DELETE FROM record_marks WHERE tenant_id = $1 AND plugin = $2 AND (collection, property, mark, record_id) IN (
                    SELECT collection, property, mark, record_id FROM record_marks WHERE tenant_id = $1 AND plugin = $2
                        AND collection || '.' || property NOT IN (SELECT value FROM ",
                $declared,
                ") LIMIT $4)"
            )
        };
    }
    let sql = if tx.conn.is_postgres() { delete!("jsonb_array_elements_text($3)") } else { delete!("json_each($3)") };
    tx.execute(sql, params![plugin, Json::from(declared), most]).await
}
