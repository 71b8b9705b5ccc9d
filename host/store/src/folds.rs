//! Folded copies of texts that were stored before copies were.

use purlin_domain::{
    Json,
    text::{folded_copies, folded_members},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Result, TenantTx, Weigh, built::PAGE_BYTES_MAX, value::params};

/// A row with texts in other letters than ASCII, and no copies.
#[derive(FromRow)]
struct Row {
    id: Uuid,
    a: String,
    b: Option<String>,
    c: Option<String>,
}

/// A table whose lists search texts.
pub struct Table {
    columns: &'static [&'static str],
    find: [&'static str; 2],
    keep: &'static str,
}

/// Up to three columns that are searched; the first is never null. Rows are locked on PostgreSQL
/// alone: in SQLite the writer is.
macro_rules! table {
    ($table:literal, $tenant:literal, [$($column:literal),+], $texts:literal, $beyond_ascii:literal) => {
        Table {
            columns: &[$($column),+],
            find: [
                table!(@find $table, $tenant, $texts, $beyond_ascii, " FOR NO KEY UPDATE"),
                table!(@find $table, $tenant, $texts, $beyond_ascii, ""),
            ],
            keep: concat!("UPDATE ", $table, " SET folded = $3 WHERE ", $tenant, " = $1 AND id = $2"),
        }
    };
    (@find $table:literal, $tenant:literal, $texts:literal, $beyond_ascii:literal, $lock:literal) => {
        concat!(
            "SELECT id, ", $texts, " FROM ", $table, " WHERE ", $tenant, " = $1 AND folded IS NULL AND id > $2 AND (",
            $beyond_ascii, ") ORDER BY id LIMIT $3", $lock
        )
    };
}

/// Every such table but that of records.
pub const TABLES: [Table; 7] = [
    table!(
        "users",
        "tenant_id",
        ["email", "first_name", "last_name"],
        "email AS a, first_name AS b, last_name AS c",
        "octet_length(email) <> length(email) OR octet_length(first_name) <> length(first_name)
            OR octet_length(last_name) <> length(last_name)"
    ),
    table!("tenants", "id", ["name"], "name AS a, NULL AS b, NULL AS c", "octet_length(name) <> length(name)"),
    table!("roles", "tenant_id", ["name"], "name AS a, NULL AS b, NULL AS c", "octet_length(name) <> length(name)"),
    table!("api_keys", "tenant_id", ["name"], "name AS a, NULL AS b, NULL AS c", "octet_length(name) <> length(name)"),
    table!(
        "invitations",
        "tenant_id",
        ["email"],
        "email AS a, NULL AS b, NULL AS c",
        "octet_length(email) <> length(email)"
    ),
    table!("webhooks", "tenant_id", ["url"], "url AS a, NULL AS b, NULL AS c", "octet_length(url) <> length(url)"),
    table!(
        "plugin_logs",
        "tenant_id",
        ["message"],
        "message AS a, NULL AS b, NULL AS c",
        "octet_length(message) <> length(message)"
    ),
];

/// Make the copies of so many rows at most that come after this id; the last of them.
pub async fn fill(tx: &mut TenantTx, table: &Table, after: Uuid, most: u32) -> Result<Option<Uuid>> {
    let [locking, plain] = table.find;
    let sql = if tx.conn.is_postgres() { locking } else { plain };
    let rows: Vec<Row> = tx.fetch_all(sql, params![after, most]).await?;
    for row in &rows {
        let texts = [Some(&row.a), row.b.as_ref(), row.c.as_ref()];
        let named = table.columns.iter().zip(texts).filter_map(|(name, text)| Some((*name, text?.as_str())));
        if let Some(copies) = folded_copies(named) {
            tx.execute(table.keep, params![row.id, copies]).await?;
        }
    }
    Ok(rows.last().map(|row| row.id))
}

/// A record with texts in other letters than ASCII, and no copies.
#[derive(FromRow)]
struct Record {
    plugin: String,
    collection: String,
    id: Uuid,
    #[sqlx(try_from = "crate::document::Document")]
    data: Json,
}

impl Weigh for Record {
    fn bytes(&self) -> usize {
        self.data.to_string().len()
    }
}

/// Where a record lies: its plugin, its collection and its id.
pub type Place = (String, String, Uuid);

/// The same of records.
pub async fn fill_records(tx: &mut TenantTx, after: &Place, most: u32) -> Result<Option<Place>> {
    macro_rules! find {
        ($lock:literal) => {
            concat!(
                "SELECT plugin, collection, id, data FROM records
                 WHERE tenant_id = $1 AND folded IS NULL AND (plugin, collection, id) > ($2, $3, $4)
                    AND octet_length(CAST(data AS text)) <> length(CAST(data AS text))
                 ORDER BY plugin, collection, id LIMIT $5",
                $lock
            )
        };
    }
    let sql = if tx.conn.is_postgres() { find!(" FOR NO KEY UPDATE") } else { find!("") };
    let (plugin, collection, id) = after;
    let found = tx.fetch_within(sql, params![plugin, collection, *id, most], PAGE_BYTES_MAX).await?;
    let rows: Vec<Record> = found.0;
    for row in &rows {
        if let Some(copies) = folded_members(&row.data) {
            tx.execute(
                "UPDATE records SET folded = $5 WHERE tenant_id = $1 AND plugin = $2 AND collection = $3 AND id = $4",
                params![&row.plugin, &row.collection, row.id, copies],
            )
            .await?;
        }
    }
    Ok(rows.into_iter().next_back().map(|row| (row.plugin, row.collection, row.id)))
}
