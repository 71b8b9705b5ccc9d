//! API keys: kept as digests, never as themselves.

use purlin_domain::{
    Json, Timestamp,
    filter::{Field, FieldType},
    id::{ApiKeyId, UserId},
    text::folded_copies,
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, Result, Slice, TenantTx, Weigh, value::params};

/// An API key, without the key.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct ApiKey {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: ApiKeyId,
    /// Whose it is; it may do no more than this user.
    #[sqlx(try_from = "Uuid")]
    pub user_id: UserId,
    /// What it is for.
    pub name: String,
    /// How it ends, to be recognised by.
    pub hint: String,
    /// BLAKE3 of the key. Never leaves the host.
    #[serde(skip)]
    pub key_hash: String,
    /// What it may be used for: a list of permissions.
    pub scopes: Json,
    /// When it ends; never when missing.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Weigh for ApiKey {
    fn bytes(&self) -> usize {
        self.scopes.to_string().len()
    }
}

const COLUMNS: &[&str] =
    &["id", "user_id", "name", "hint", "key_hash", "scopes", "expires_at", "last_used_at", "created_at", "updated_at"];

/// Add a key.
pub async fn insert(tx: &mut TenantTx, key: &ApiKey) -> Result<()> {
    let mut row = params![
        key.id,
        key.user_id,
        &key.name,
        &key.hint,
        &key.key_hash,
        &key.scopes,
        key.expires_at,
        key.last_used_at,
        key.created_at,
        key.updated_at
    ];
    row.extend(params![folded_copies([("name", key.name.as_str())])]);
    tx.insert_many("api_keys", &[COLUMNS, &["folded"]].concat(), vec![row]).await
}

/// The key of this id.
pub async fn by_id(tx: &mut TenantTx, id: ApiKeyId) -> Result<Option<ApiKey>> {
    tx.fetch_optional(
        "SELECT id, user_id, name, hint, key_hash, scopes, expires_at, last_used_at, created_at, updated_at
         FROM api_keys WHERE tenant_id = $1 AND id = $2",
        params![id],
    )
    .await
}

/// How many keys a user has.
pub async fn count_of_user(tx: &mut TenantTx, user: UserId) -> Result<i64> {
    let (count,): (i64,) =
        tx.fetch_one("SELECT count(*) FROM api_keys WHERE tenant_id = $1 AND user_id = $2", params![user]).await?;
    Ok(count)
}

/// Note that a key was used.
pub async fn set_last_used(tx: &mut TenantTx, id: ApiKeyId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE api_keys SET last_used_at = $3 WHERE tenant_id = $1 AND id = $2", params![id, now]).await?;
    Ok(())
}

/// Take a key away; whether there was one.
pub async fn delete(tx: &mut TenantTx, id: ApiKeyId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM api_keys WHERE tenant_id = $1 AND id = $2", params![id]).await? == 1)
}

/// Take all keys of a user away.
pub async fn delete_of_user(tx: &mut TenantTx, user: UserId) -> Result<u64> {
    tx.execute("DELETE FROM api_keys WHERE tenant_id = $1 AND user_id = $2", params![user]).await
}

/// What keys can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    vec![
        Field { sortable: false, ..Field::column("user_id", FieldType::Uuid) },
        Field::column("name", FieldType::Text).folded(),
        Field::column("hint", FieldType::Text),
        Field::nullable("expires_at", FieldType::Timestamp),
        Field::nullable("last_used_at", FieldType::Timestamp),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of the tenant's keys.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<ApiKey>> {
    tx.list(&Listing { table: "api_keys", columns: COLUMNS, scope: Vec::new(), slice }).await
}
