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
    /// `enabled` or `disabled`.
    pub state: String,
    /// What was granted: a list of permissions.
    pub grants: Json,
    /// When it was first enabled.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Switch a plugin on, or change its version and grants.
pub async fn enable(
    tx: &mut TenantTx,
    id: Uuid,
    plugin: &str,
    version: VersionId,
    grants: &Json,
    now: Timestamp,
    by: Option<UserId>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO installations (tenant_id, id, plugin, version_id, state, grants, created_at, updated_at, created_by, updated_by)
         VALUES ($1, $2, $3, $4, 'enabled', $5, $6, $6, $7, $7)
         ON CONFLICT (tenant_id, plugin) DO UPDATE SET version_id = excluded.version_id, state = 'enabled',
            grants = excluded.grants, updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        params![id, plugin, version, grants, now, by],
    )
    .await?;
    Ok(())
}

/// Switch a plugin off; its data stays, its jobs wait.
pub async fn disable(tx: &mut TenantTx, plugin: &str, now: Timestamp, by: Option<UserId>) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE installations SET state = 'disabled', updated_at = $3, updated_by = $4
             WHERE tenant_id = $1 AND plugin = $2 AND state = 'enabled'",
            params![plugin, now, by],
        )
        .await?;
    Ok(changed == 1)
}

/// The tenant's plugins, by name.
pub async fn list(tx: &mut TenantTx) -> Result<Vec<Installation>> {
    tx.fetch_all(
        "SELECT i.id, i.plugin, v.version, i.version_id, v.digest, i.state, i.grants, i.created_at, i.updated_at
         FROM installations i JOIN plugin_versions v ON v.id = i.version_id
         WHERE i.tenant_id = $1 ORDER BY i.plugin",
        params![],
    )
    .await
}

/// The tenant's installation of a plugin, with or without a lock on it.
macro_rules! by_plugin {
    ($lock:literal) => {
        concat!(
            "SELECT i.id, i.plugin, v.version, i.version_id, v.digest, i.state, i.grants, i.created_at, i.updated_at
             FROM installations i JOIN plugin_versions v ON v.id = i.version_id
             WHERE i.tenant_id = $1 AND i.plugin = $2 ",
            $lock
        )
    };
}

/// The tenant's installation of this plugin.
pub async fn by_plugin(tx: &mut TenantTx, plugin: &str) -> Result<Option<Installation>> {
    tx.fetch_optional(by_plugin!(""), params![plugin]).await
}

/// The same, none either when the tenant is not active: what a plugin may do at this moment.
pub async fn consent(tx: &mut TenantTx, plugin: &str) -> Result<Option<Installation>> {
    tx.fetch_optional(
        "SELECT i.id, i.plugin, v.version, i.version_id, v.digest, i.state, i.grants, i.created_at, i.updated_at
         FROM installations i JOIN plugin_versions v ON v.id = i.version_id JOIN tenants t ON t.id = i.tenant_id
         WHERE i.tenant_id = $1 AND i.plugin = $2 AND t.status = 'active'",
        params![plugin],
    )
    .await
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
