//! Plugins, their uploaded versions and components: the same for every tenant.

use purlin_domain::{Json, Timestamp, id::VersionId};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{PlatformTx, Result, TenantTx, value::params};

/// A plugin.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What it does.
    pub description: String,
    /// When its first version was uploaded.
    pub created_at: Timestamp,
    /// When its newest version was uploaded.
    pub updated_at: Timestamp,
}

/// One uploaded version.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct Version {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: VersionId,
    /// The plugin.
    pub plugin: String,
    /// The version, by Semantic Versioning.
    pub version: String,
    /// BLAKE3 of the component, in hex.
    pub digest: String,
    /// What it says of itself.
    pub descriptor: Json,
    /// What the host found at upload.
    pub report: Json,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// Add a plugin, or refresh its title and description.
pub async fn upsert(tx: &mut PlatformTx, id: Uuid, plugin: &Plugin) -> Result<()> {
    tx.execute(
        "INSERT INTO plugins (id, name, title, description, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (name) DO UPDATE SET title = excluded.title, description = excluded.description, updated_at = excluded.updated_at",
        params![id, &plugin.name, &plugin.title, &plugin.description, plugin.created_at, plugin.updated_at],
    )
    .await?;
    Ok(())
}

/// Add a version and its component.
pub async fn insert_version(
    tx: &mut PlatformTx,
    version: &Version,
    component: Vec<u8>,
    by: Option<Uuid>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO plugin_components (digest, component, created_at) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING",
        params![&version.digest, component, version.created_at],
    )
    .await?;
    tx.execute(
        "INSERT INTO plugin_versions (id, plugin, version, digest, descriptor, report, created_at, updated_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)",
        params![version.id, &version.plugin, &version.version, &version.digest, &version.descriptor, &version.report, version.created_at, by],
    )
    .await?;
    Ok(())
}

/// Every plugin, by name; 1,000 at most.
pub async fn list(tx: &mut PlatformTx) -> Result<Vec<Plugin>> {
    tx.fetch_all(
        "SELECT name, title, description, created_at, updated_at FROM plugins ORDER BY name LIMIT 1000",
        params![],
    )
    .await
}

/// The plugin of this name.
pub async fn by_name(tx: &mut PlatformTx, name: &str) -> Result<Option<Plugin>> {
    tx.fetch_optional(
        "SELECT name, title, description, created_at, updated_at FROM plugins WHERE name = $1",
        params![name],
    )
    .await
}

/// A plugin's versions, the newest upload first; 1,000 at most.
pub async fn versions(tx: &mut PlatformTx, plugin: &str) -> Result<Vec<Version>> {
    tx.fetch_all(
        "SELECT id, plugin, version, digest, descriptor, report, created_at FROM plugin_versions
         WHERE plugin = $1 ORDER BY created_at DESC, id DESC LIMIT 1000",
        params![plugin],
    )
    .await
}

/// One version of a plugin.
pub async fn version(tx: &mut PlatformTx, plugin: &str, version: &str) -> Result<Option<Version>> {
    tx.fetch_optional(
        "SELECT id, plugin, version, digest, descriptor, report, created_at FROM plugin_versions
         WHERE plugin = $1 AND version = $2",
        params![plugin, version],
    )
    .await
}

/// The component of this digest.
pub async fn component(tx: &mut PlatformTx, digest: &str) -> Result<Option<Vec<u8>>> {
    let row: Option<(Vec<u8>,)> =
        tx.fetch_optional("SELECT component FROM plugin_components WHERE digest = $1", params![digest]).await?;
    Ok(row.map(|(component,)| component))
}

/// The version of this id, whichever tenant asks.
pub async fn version_by_id(tx: &mut TenantTx, id: VersionId) -> Result<Option<Version>> {
    tx.fetch_optional(
        "SELECT v.id, v.plugin, v.version, v.digest, v.descriptor, v.report, v.created_at FROM plugin_versions v
         JOIN installations i ON i.version_id = v.id AND i.tenant_id = $1 WHERE v.id = $2",
        params![id],
    )
    .await
}
