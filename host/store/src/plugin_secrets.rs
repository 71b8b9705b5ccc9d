//! Secrets that tenants set for plugins, sealed.

use purlin_domain::{Timestamp, id::UserId};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;

use crate::{Result, TenantTx, value::params};

/// A secret, as people see it: never its value.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct SecretSet {
    /// Its name.
    pub name: String,
    /// When it was last set.
    pub updated_at: Timestamp,
}

/// Set a secret.
pub async fn set(
    tx: &mut TenantTx,
    plugin: &str,
    name: &str,
    sealed: Vec<u8>,
    now: Timestamp,
    by: Option<UserId>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO plugin_secrets (tenant_id, plugin, name, sealed, created_at, updated_at, created_by, updated_by)
         VALUES ($1, $2, $3, $4, $5, $5, $6, $6)
         ON CONFLICT (tenant_id, plugin, name) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at,
            updated_by = excluded.updated_by",
        params![plugin, name, sealed, now, by],
    )
    .await?;
    Ok(())
}

/// Forget a secret; whether it was set.
pub async fn delete(tx: &mut TenantTx, plugin: &str, name: &str) -> Result<bool> {
    let sql = "DELETE FROM plugin_secrets WHERE tenant_id = $1 AND plugin = $2 AND name = $3";
    Ok(tx.execute(sql, params![plugin, name]).await? == 1)
}

/// Forget all of a plugin's.
pub async fn delete_all(tx: &mut TenantTx, plugin: &str) -> Result<()> {
    tx.execute("DELETE FROM plugin_secrets WHERE tenant_id = $1 AND plugin = $2", params![plugin]).await?;
    Ok(())
}

/// A secret, sealed.
pub async fn sealed(tx: &mut TenantTx, plugin: &str, name: &str) -> Result<Option<Vec<u8>>> {
    let row: Option<(Vec<u8>,)> = tx
        .fetch_optional(
            "SELECT sealed FROM plugin_secrets WHERE tenant_id = $1 AND plugin = $2 AND name = $3",
            params![plugin, name],
        )
        .await?;
    Ok(row.map(|(sealed,)| sealed))
}

/// Which are set.
pub async fn list(tx: &mut TenantTx, plugin: &str) -> Result<Vec<SecretSet>> {
    tx.fetch_all(
        "SELECT name, updated_at FROM plugin_secrets WHERE tenant_id = $1 AND plugin = $2 ORDER BY name",
        params![plugin],
    )
    .await
}
