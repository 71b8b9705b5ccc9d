//! Which plugins a tenant has switched on, in which version, with what granted.

use purlin_domain::{
    Json, Timestamp,
    id::{UserId, VersionId},
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Result, TenantTx, value::params};

/// A plugin in a tenant.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct Installation {
    /// Its id.
    pub id: Uuid,
    /// The plugin.
    pub plugin: String,
    /// The version, by Semantic Versioning.
    pub version: String,
    /// The version's id.
    #[serde(skip)]
    #[sqlx(try_from = "Uuid")]
    pub version_id: VersionId,
    /// BLAKE3 of the version's component, in hex.
    #[serde(skip)]
    pub digest: String,
    /// `enabled`, `disabled`, or `paused` by the host, which says why.
    pub state: String,
    /// What was granted: a list of permissions.
    pub grants: Json,
    /// What was set, without the defaults.
    #[sqlx(try_from = "crate::document::Document")]
    pub settings: Json,
    /// The version that ran before, to which it can go back.
    pub previous_version: Option<String>,
    /// When it began to run the present version instead.
    pub upgraded_at: Option<Timestamp>,
    /// The indexes of its collections that lists use, each `collection.property`; one that is not
    /// among them yet is being made.
    pub indexed: Json,
    /// Why the host paused it, or went back to the version before.
    pub reason: Option<String>,
    /// When it was first enabled, since it was last uninstalled.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a tenant agrees to.
#[derive(Clone, Copy, Debug)]
pub struct Agreed<'a> {
    /// The plugin.
    pub plugin: &'a str,
    /// The version.
    pub version: VersionId,
    /// What is granted.
    pub grants: &'a Json,
    /// What is set.
    pub settings: &'a Json,
}

/// Switch a plugin on, or change its version, grants and settings. What it was before is kept
/// when the version is another one.
pub async fn enable(tx: &mut TenantTx, id: Uuid, agreed: Agreed<'_>, now: Timestamp, by: Option<UserId>) -> Result<()> {
    tx.execute(
        "INSERT INTO installations (tenant_id, id, plugin, version_id, state, grants, settings, created_at, updated_at, created_by, updated_by)
         VALUES ($1, $2, $3, $4, 'enabled', $5, $6, $7, $7, $8, $8)
         ON CONFLICT (tenant_id, plugin) DO UPDATE SET
            previous_version_id = CASE WHEN installations.version_id <> excluded.version_id
                THEN installations.version_id ELSE installations.previous_version_id END,
            previous_grants = CASE WHEN installations.version_id <> excluded.version_id
                THEN installations.grants ELSE installations.previous_grants END,
            previous_settings = CASE WHEN installations.version_id <> excluded.version_id
                THEN installations.settings ELSE installations.previous_settings END,
            upgraded_at = CASE WHEN installations.version_id <> excluded.version_id
                THEN excluded.updated_at ELSE installations.upgraded_at END,
            version_id = excluded.version_id, state = 'enabled', reason = NULL,
            grants = excluded.grants, settings = excluded.settings, updated_at = excluded.updated_at,
            updated_by = excluded.updated_by",
        params![id, agreed.plugin, agreed.version, agreed.grants, agreed.settings, now, by],
    )
    .await?;
    Ok(())
}

/// Set what administrators set.
pub async fn configure(
    tx: &mut TenantTx,
    plugin: &str,
    settings: &Json,
    now: Timestamp,
    by: Option<UserId>,
) -> Result<()> {
    tx.execute(
        "UPDATE installations SET settings = $3, updated_at = $4, updated_by = $5 WHERE tenant_id = $1 AND plugin = $2",
        params![plugin, settings, now, by],
    )
    .await?;
    Ok(())
}

/// Switch a plugin off; its data stays, its jobs wait.
pub async fn disable(tx: &mut TenantTx, plugin: &str, now: Timestamp, by: Option<UserId>) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE installations SET state = 'disabled', updated_at = $3, updated_by = $4
             WHERE tenant_id = $1 AND plugin = $2 AND state <> 'disabled'",
            params![plugin, now, by],
        )
        .await?;
    Ok(changed == 1)
}

macro_rules! installations {
    ($($rest:literal),*) => {
        concat!(
            "SELECT i.id, i.plugin, v.version, i.version_id, v.digest, i.state, i.grants, i.settings, b.version AS previous_version,
                i.upgraded_at, i.indexed, i.reason, i.created_at, i.updated_at
             FROM installations i JOIN plugin_versions v ON v.id = i.version_id
             LEFT JOIN plugin_versions b ON b.id = i.previous_version_id ",
            $($rest),*
        )
    };
}

/// Let a plugin rest that the host has reason to stop, if it still runs this version; whether it did.
pub async fn pause(tx: &mut TenantTx, plugin: &str, version: VersionId, reason: &str, now: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE installations SET state = 'paused', reason = $4, updated_at = $5, updated_by = NULL
             WHERE tenant_id = $1 AND plugin = $2 AND version_id = $3 AND state = 'enabled'",
            params![plugin, version, reason, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Let a plugin run again that was paused.
pub async fn resume(tx: &mut TenantTx, plugin: &str, now: Timestamp, by: Option<UserId>) -> Result<()> {
    tx.execute(
        "UPDATE installations SET state = 'enabled', reason = NULL, updated_at = $3, updated_by = $4
         WHERE tenant_id = $1 AND plugin = $2",
        params![plugin, now, by],
    )
    .await?;
    Ok(())
}

/// Run the version before this one again, with what was granted to it; whether there was one,
/// and this one still ran.
pub async fn roll_back(
    tx: &mut TenantTx,
    plugin: &str,
    version: VersionId,
    reason: Option<&str>,
    now: Timestamp,
    by: Option<UserId>,
) -> Result<bool> {
    let reason = reason.map(str::to_owned);
    let changed = tx
        .execute(
            "UPDATE installations SET version_id = previous_version_id, grants = previous_grants, previous_version_id = NULL,
                previous_grants = NULL, upgraded_at = NULL, reason = $4, updated_at = $5, updated_by = $6
             WHERE tenant_id = $1 AND plugin = $2 AND version_id = $3 AND previous_version_id IS NOT NULL",
            params![plugin, version, reason, now, by],
        )
        .await?;
    Ok(changed == 1)
}

/// The version that ran before the last upgrade, where it can be gone back to.
pub async fn previous_version(tx: &mut TenantTx, plugin: &str) -> Result<Option<VersionId>> {
    let row: Option<(Option<Uuid>,)> = tx
        .fetch_optional(
            "SELECT previous_version_id FROM installations WHERE tenant_id = $1 AND plugin = $2",
            params![plugin],
        )
        .await?;
    Ok(row.and_then(|(version,)| version).map(VersionId))
}

/// Set what was set before the last upgrade, where that is known.
pub async fn restore_settings(tx: &mut TenantTx, plugin: &str) -> Result<()> {
    tx.execute(
        "UPDATE installations SET settings = coalesce(previous_settings, settings) WHERE tenant_id = $1 AND plugin = $2",
        params![plugin],
    )
    .await?;
    Ok(())
}

/// Say which indexes of its collections lists can use.
pub async fn set_indexed(tx: &mut TenantTx, plugin: &str, indexed: &[String]) -> Result<()> {
    tx.execute(
        "UPDATE installations SET indexed = $3 WHERE tenant_id = $1 AND plugin = $2",
        params![plugin, Json::from(indexed)],
    )
    .await?;
    Ok(())
}

/// Which indexes of its collections lists can use.
pub async fn indexed(tx: &mut TenantTx, plugin: &str) -> Result<Json> {
    let row: Option<(Json,)> = tx
        .fetch_optional("SELECT indexed FROM installations WHERE tenant_id = $1 AND plugin = $2", params![plugin])
        .await?;
    Ok(row.map_or(Json::Null, |(indexed,)| indexed))
}

/// Forget that a plugin was installed.
pub async fn delete(tx: &mut TenantTx, plugin: &str) -> Result<()> {
    tx.execute("DELETE FROM installations WHERE tenant_id = $1 AND plugin = $2", params![plugin]).await?;
    Ok(())
}

/// The tenant's plugins, by name.
pub async fn list(tx: &mut TenantTx) -> Result<Vec<Installation>> {
    tx.fetch_all(installations!("WHERE i.tenant_id = $1 ORDER BY i.plugin"), params![]).await
}

/// The tenant's installation of a plugin, with or without a lock on it.
macro_rules! by_plugin {
    ($lock:literal) => {
        installations!("WHERE i.tenant_id = $1 AND i.plugin = $2 ", $lock)
    };
}

/// The tenant's installation of this plugin.
pub async fn by_plugin(tx: &mut TenantTx, plugin: &str) -> Result<Option<Installation>> {
    tx.fetch_optional(by_plugin!(""), params![plugin]).await
}

macro_rules! consent {
    ($lock:literal) => {
        installations!(
            "JOIN tenants t ON t.id = i.tenant_id WHERE i.tenant_id = $1 AND i.plugin = $2 AND t.status = 'active' ",
            $lock
        )
    };
}

/// The same, none either when the tenant is not active: what a plugin may do at this moment.
pub async fn consent(tx: &mut TenantTx, plugin: &str) -> Result<Option<Installation>> {
    tx.fetch_optional(consent!(""), params![plugin]).await
}

/// The same, held so until the transaction ends; with others who hold it so, against whoever
/// [holds](hold) the installation to change it.
pub async fn hold_consent(tx: &mut TenantTx, plugin: &str) -> Result<Option<Installation>> {
    // In SQLite the writer is alone.
    let sql = if tx.conn.is_postgres() { consent!("FOR KEY SHARE OF i") } else { consent!("") };
    tx.fetch_optional(sql, params![plugin]).await
}

/// The installation of this plugin, held so until the transaction ends.
pub async fn hold(tx: &mut TenantTx, plugin: &str) -> Result<Option<Installation>> {
    let sql = if tx.conn.is_postgres() {
        by_plugin!("FOR UPDATE OF i")
    } else {
        // The writer is alone.
        by_plugin!("")
    };
    tx.fetch_optional(sql, params![plugin]).await
}
