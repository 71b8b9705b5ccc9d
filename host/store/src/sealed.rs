//! Everything of a tenant that is sealed under the master key, to be sealed anew.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{Result, TenantTx, value::params};

/// What is sealed: of which user, or of which webhook.
#[derive(Clone, Debug, FromRow)]
pub struct Sealed {
    /// The user, or the webhook.
    pub id: Uuid,
    /// What it is sealed as.
    pub sealed: Vec<u8>,
}

/// A secret of a plugin.
#[derive(Clone, Debug, FromRow)]
pub struct SealedSecret {
    /// The plugin.
    pub plugin: String,
    /// The name of the secret.
    pub name: String,
    /// What it is sealed as.
    pub sealed: Vec<u8>,
}

/// The secrets of second factors.
pub async fn second_factors(tx: &mut TenantTx) -> Result<Vec<Sealed>> {
    let sql = "SELECT user_id AS id, secret AS sealed FROM second_factors WHERE tenant_id = $1 ORDER BY user_id";
    tx.fetch_all(sql, params![]).await
}

/// Seal one anew, if it is still what was read.
pub async fn set_second_factor(tx: &mut TenantTx, before: &Sealed, after: Vec<u8>) -> Result<()> {
    let sql = "UPDATE second_factors SET secret = $4 WHERE tenant_id = $1 AND user_id = $2 AND secret = $3";
    tx.execute(sql, params![before.id, before.sealed.clone(), after]).await?;
    Ok(())
}

/// The secrets that sign what webhooks are sent.
pub async fn webhooks(tx: &mut TenantTx) -> Result<Vec<Sealed>> {
    let sql = "SELECT id, secret AS sealed FROM webhooks WHERE tenant_id = $1 ORDER BY id";
    tx.fetch_all(sql, params![]).await
}

/// Seal one anew, if it is still what was read.
pub async fn set_webhook(tx: &mut TenantTx, before: &Sealed, after: Vec<u8>) -> Result<()> {
    let sql = "UPDATE webhooks SET secret = $4 WHERE tenant_id = $1 AND id = $2 AND secret = $3";
    tx.execute(sql, params![before.id, before.sealed.clone(), after]).await?;
    Ok(())
}

/// Those that signed before, for as long as they still do.
pub async fn old_webhooks(tx: &mut TenantTx) -> Result<Vec<Sealed>> {
    let sql =
        "SELECT id, old_secret AS sealed FROM webhooks WHERE tenant_id = $1 AND old_secret IS NOT NULL ORDER BY id";
    tx.fetch_all(sql, params![]).await
}

/// Seal one anew, if it is still what was read.
pub async fn set_old_webhook(tx: &mut TenantTx, before: &Sealed, after: Vec<u8>) -> Result<()> {
    let sql = "UPDATE webhooks SET old_secret = $4 WHERE tenant_id = $1 AND id = $2 AND old_secret = $3";
    tx.execute(sql, params![before.id, before.sealed.clone(), after]).await?;
    Ok(())
}

/// The secrets that tenants set for plugins.
pub async fn plugin_secrets(tx: &mut TenantTx) -> Result<Vec<SealedSecret>> {
    let sql = "SELECT plugin, name, sealed FROM plugin_secrets WHERE tenant_id = $1 ORDER BY plugin, name";
    tx.fetch_all(sql, params![]).await
}

/// Seal one anew, if it is still what was read.
pub async fn set_plugin_secret(tx: &mut TenantTx, before: &SealedSecret, after: Vec<u8>) -> Result<()> {
    let sql =
        "UPDATE plugin_secrets SET sealed = $5 WHERE tenant_id = $1 AND plugin = $2 AND name = $3 AND sealed = $4";
    tx.execute(sql, params![&before.plugin, &before.name, before.sealed.clone(), after]).await?;
    Ok(())
}
