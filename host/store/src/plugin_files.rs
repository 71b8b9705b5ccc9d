//! Files of plugins: which there are, and where the content of each lies.

use purlin_domain::{
    Json, Timestamp,
    file::File,
    filter::{Field, FieldType},
    id::{TenantId, UserId},
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh,
    value::{Bind, params},
};

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow, JsonSchema)]
pub struct Stored {
    /// Its key.
    pub key: String,
    /// Its id, another with each write; its content lies under it.
    pub id: Uuid,
    /// Its media type.
    pub content_type: String,
    /// Its length.
    pub bytes: i64,
    /// BLAKE3 of its content, in hex.
    pub digest: String,
    /// When it was last written.
    pub updated_at: Timestamp,
}

impl From<Stored> for File {
    fn from(stored: Stored) -> Self {
        let Stored { key, content_type, bytes, digest, updated_at, .. } = stored;
        Self { key, content_type, bytes, digest, updated_at }
    }
}

macro_rules! by_key {
    ($lock:literal) => {
        concat!(
            "SELECT key, id, content_type, bytes, digest, updated_at FROM plugin_files
             WHERE tenant_id = $1 AND plugin = $2 AND key = $3 ",
            $lock
        )
    };
}

/// The file of this key.
pub async fn by_key(tx: &mut TenantTx, plugin: &str, key: &str) -> Result<Option<Stored>> {
    tx.fetch_optional(by_key!(""), params![plugin, key]).await
}

/// The same, held so until the transaction ends.
pub async fn hold(tx: &mut TenantTx, plugin: &str, key: &str) -> Result<Option<Stored>> {
    // On SQLite the writer is alone.
    let sql = if tx.conn.is_postgres() { by_key!("FOR UPDATE") } else { by_key!("") };
    tx.fetch_optional(sql, params![plugin, key]).await
}

impl Weigh for Stored {
    fn bytes(&self) -> usize {
        self.key.len()
    }
}

/// What files can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    vec![
        Field::column("key", FieldType::Text),
        Field { sortable: false, ..Field::column("content_type", FieldType::Text) },
        Field { sortable: false, ..Field::column("bytes", FieldType::Number) },
        Field::column("updated_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of a plugin's files.
pub async fn page(tx: &mut TenantTx, plugin: &str, slice: &Slice<'_>) -> Result<Page<Stored>> {
    let columns = &["key", "id", "content_type", "bytes", "digest", "updated_at"];
    tx.list(&Listing { table: "plugin_files", columns, scope: vec![("plugin", Some(plugin.bind()))], slice }).await
}

/// The files after this key whose keys begin so, by key; so many at most.
pub async fn list(tx: &mut TenantTx, plugin: &str, prefix: &str, after: &str, most: u32) -> Result<Vec<Stored>> {
    // No key has a character beyond this one.
    let end = format!("{prefix}\u{7f}");
    tx.fetch_all(
        "SELECT key, id, content_type, bytes, digest, updated_at FROM plugin_files
         WHERE tenant_id = $1 AND plugin = $2 AND key >= $3 AND key < $4 AND key > $5 ORDER BY key LIMIT $6",
        params![plugin, prefix, end, after, most],
    )
    .await
}

/// Write a file, in the place of what was there.
pub async fn put(tx: &mut TenantTx, plugin: &str, file: &Stored, by: Option<UserId>) -> Result<()> {
    tx.execute(
        "INSERT INTO plugin_files (tenant_id, plugin, key, id, content_type, bytes, digest, created_at, updated_at, created_by, updated_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $9)
         ON CONFLICT (tenant_id, plugin, key) DO UPDATE SET id = excluded.id, content_type = excluded.content_type,
            bytes = excluded.bytes, digest = excluded.digest, updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        params![plugin, &file.key, file.id, &file.content_type, file.bytes, &file.digest, file.updated_at, by],
    )
    .await?;
    Ok(())
}

/// Delete a file.
pub async fn delete(tx: &mut TenantTx, plugin: &str, key: &str) -> Result<()> {
    let sql = "DELETE FROM plugin_files WHERE tenant_id = $1 AND plugin = $2 AND key = $3";
    tx.execute(sql, params![plugin, key]).await?;
    Ok(())
}

/// Delete all files of a plugin; how many.
pub async fn delete_all(tx: &mut TenantTx, plugin: &str) -> Result<u64> {
    tx.execute("DELETE FROM plugin_files WHERE tenant_id = $1 AND plugin = $2", params![plugin]).await
}

/// How many files a plugin has, and their bytes.
pub async fn size(tx: &mut TenantTx, plugin: &str) -> Result<(i64, i64)> {
    tx.fetch_one(
        "SELECT count(*), CAST(coalesce(sum(bytes), 0) AS bigint) FROM plugin_files WHERE tenant_id = $1 AND plugin = $2",
        params![plugin],
    )
    .await
}

/// Bytes of all files of the tenant.
pub async fn bytes(tx: &mut TenantTx) -> Result<i64> {
    let (bytes,): (i64,) = tx
        .fetch_one("SELECT CAST(coalesce(sum(bytes), 0) AS bigint) FROM plugin_files WHERE tenant_id = $1", params![])
        .await?;
    Ok(bytes)
}

/// Those of these contents of a tenant that a file names.
pub async fn named(tx: &mut PlatformTx, tenant: TenantId, contents: &[Uuid]) -> Result<Vec<Uuid>> {
    let list: Json = contents.iter().map(|id| id.simple().to_string()).collect();
    let sql = if tx.conn.is_postgres() {
        "SELECT id FROM plugin_files WHERE tenant_id = $1
            AND id IN (SELECT CAST(value AS uuid) FROM jsonb_array_elements_text($2))"
    } else {
        "SELECT id FROM plugin_files WHERE tenant_id = $1 AND id IN (SELECT unhex(value) FROM json_each($2))"
    };
    let rows: Vec<(Uuid,)> = tx.fetch_all(sql, params![tenant, list]).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
