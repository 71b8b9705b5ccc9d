//! Webhooks: where events are sent to.

use purlin_domain::{
    Json, Timestamp,
    filter::{Field, FieldType},
    id::UserId,
    text::folded_copies,
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, Result, Slice, TenantTx, Weigh, value::params};

/// A webhook, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow, JsonSchema)]
pub struct Webhook {
    /// Its id.
    pub id: Uuid,
    /// Where events are sent.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// Which: patterns of event types.
    pub event_types: Json,
    /// Whether events are sent.
    pub is_enabled: bool,
    /// Why the host disabled it.
    pub disabled_reason: Option<String>,
    /// Since when nothing that was sent was taken.
    pub failing_since: Option<Timestamp>,
    /// Until when what is sent is signed with the old secret too.
    pub old_secret_until: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Who made it.
    pub created_by: Option<Uuid>,
    /// Who answers for it: who made it, or changed it after it was orphaned.
    pub responsible_id: Option<Uuid>,
    /// Since when they may not read events any more, or are gone; administrators decide what becomes of it.
    pub orphaned_at: Option<Timestamp>,
}

impl Weigh for Webhook {
    fn bytes(&self) -> usize {
        self.url.len() + self.description.len()
    }
}

/// What a delivery needs: where to, and what it is signed with, sealed.
#[derive(Clone, Debug, FromRow)]
pub struct Target {
    /// Where to.
    pub url: String,
    /// Whether events are sent.
    pub is_enabled: bool,
    /// Who answers for it.
    pub responsible_id: Option<Uuid>,
    /// Since when they may not read events any more.
    pub orphaned_at: Option<Timestamp>,
    /// The secret.
    pub secret: Vec<u8>,
    /// The one before it.
    pub old_secret: Option<Vec<u8>>,
    /// Until when that one is used too.
    pub old_secret_until: Option<Timestamp>,
    /// Since when nothing that was sent was taken.
    pub failing_since: Option<Timestamp>,
}

const COLUMNS: &[&str] = &[
    "id",
    "url",
    "description",
    "event_types",
    "is_enabled",
    "disabled_reason",
    "failing_since",
    "old_secret_until",
    "created_at",
    "updated_at",
    "created_by",
    "responsible_id",
    "orphaned_at",
];

/// Add a webhook.
pub async fn insert(tx: &mut TenantTx, webhook: &Webhook, secret: Vec<u8>, by: Option<UserId>) -> Result<()> {
    tx.execute(
        "INSERT INTO webhooks (tenant_id, id, url, description, event_types, secret, is_enabled, created_at, updated_at, created_by, responsible_id, folded)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11)",
        params![
            webhook.id,
            &webhook.url,
            &webhook.description,
            &webhook.event_types,
            secret,
            webhook.is_enabled,
            webhook.created_at,
            webhook.updated_at,
            by,
            folded_copies([("url", webhook.url.as_str())])
        ],
    )
    .await?;
    Ok(())
}

/// How many there are.
pub async fn count(tx: &mut TenantTx) -> Result<i64> {
    let (count,): (i64,) = tx.fetch_one("SELECT count(*) FROM webhooks WHERE tenant_id = $1", params![]).await?;
    Ok(count)
}

/// The webhook of this id.
pub async fn by_id(tx: &mut TenantTx, id: Uuid) -> Result<Option<Webhook>> {
    tx.fetch_optional(
        "SELECT id, url, description, event_types, is_enabled, disabled_reason, failing_since, old_secret_until, created_at,
            updated_at, created_by, responsible_id, orphaned_at
         FROM webhooks WHERE tenant_id = $1 AND id = $2",
        params![id],
    )
    .await
}

/// The same, held so until the transaction ends.
pub async fn hold(tx: &mut TenantTx, id: Uuid) -> Result<Option<Webhook>> {
    if tx.conn.is_postgres() {
        tx.execute("SELECT 1 FROM webhooks WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE", params![id]).await?;
    }
    // In SQLite the writer is alone.
    by_id(tx, id).await
}

/// Those that are enabled: their ids, and the patterns of what is sent to them.
pub async fn enabled(tx: &mut TenantTx) -> Result<Vec<(Uuid, Json)>> {
    tx.fetch_all("SELECT id, event_types FROM webhooks WHERE tenant_id = $1 AND is_enabled", params![]).await
}

/// What a delivery needs.
pub async fn target(tx: &mut TenantTx, id: Uuid) -> Result<Option<Target>> {
    tx.fetch_optional(
        "SELECT url, is_enabled, responsible_id, orphaned_at, secret, old_secret, old_secret_until, failing_since FROM webhooks WHERE tenant_id = $1 AND id = $2",
        params![id],
    )
    .await
}

/// Change a webhook, unless it changed since `read_at`.
pub async fn update(tx: &mut TenantTx, webhook: &Webhook, read_at: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE webhooks SET url = $3, description = $4, event_types = $5, is_enabled = $6, disabled_reason = $7,
                failing_since = $8, updated_at = $9, folded = $11, responsible_id = $12, orphaned_at = $13
             WHERE tenant_id = $1 AND id = $2 AND updated_at = $10",
            params![
                webhook.id,
                &webhook.url,
                &webhook.description,
                &webhook.event_types,
                webhook.is_enabled,
                webhook.disabled_reason.clone(),
                webhook.failing_since,
                webhook.updated_at,
                read_at,
                folded_copies([("url", webhook.url.as_str())]),
                webhook.responsible_id,
                webhook.orphaned_at
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Sign with another secret from now on, and with the old ones until theirs end, the last of them then;
/// unless the webhook changed since `read_at`.
pub async fn rotate(
    tx: &mut TenantTx,
    id: Uuid,
    (secret, old): (Vec<u8>, Vec<u8>),
    until: Timestamp,
    now: Timestamp,
    read_at: Timestamp,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE webhooks SET secret = $3, old_secret = $4, old_secret_until = $5, updated_at = $6
             WHERE tenant_id = $1 AND id = $2 AND updated_at = $7",
            params![id, secret, old, until, now, read_at],
        )
        .await?;
    Ok(changed == 1)
}

/// Remember that something was taken, or since when nothing is.
pub async fn note_failing(tx: &mut TenantTx, id: Uuid, since: Option<Timestamp>) -> Result<()> {
    tx.execute("UPDATE webhooks SET failing_since = $3 WHERE tenant_id = $1 AND id = $2", params![id, since]).await?;
    Ok(())
}

/// Remove a webhook.
pub async fn delete(tx: &mut TenantTx, id: Uuid) -> Result<bool> {
    Ok(tx.execute("DELETE FROM webhooks WHERE tenant_id = $1 AND id = $2", params![id]).await? == 1)
}

/// What webhooks can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    let filter_only = |name: &str, field_type| Field { sortable: false, ..Field::column(name, field_type) };
    vec![
        filter_only("url", FieldType::Text).folded(),
        filter_only("is_enabled", FieldType::Boolean),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of webhooks.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<Webhook>> {
    tx.list(&Listing { table: "webhooks", columns: COLUMNS, scope: Vec::new(), slice }).await
}
