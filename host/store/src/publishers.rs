//! Publishers of plugins: the keys that their uploads are signed by.

use purlin_domain::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{PlatformTx, Result, value::params};

/// Who publishes a plugin.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct Publisher {
    /// The plugin, which need not be there yet.
    pub plugin: String,
    /// The Ed25519 public key: its 32 bytes in base64.
    pub public_key: String,
    /// When the key was registered.
    pub updated_at: Timestamp,
}

/// The publisher of a plugin, where one is registered.
pub async fn of_plugin(tx: &mut PlatformTx, plugin: &str) -> Result<Option<Publisher>> {
    tx.fetch_optional("SELECT plugin, public_key, updated_at FROM plugin_publishers WHERE plugin = $1", params![plugin])
        .await
}

/// Register a key, in the place of the one before it.
pub async fn set(tx: &mut PlatformTx, publisher: &Publisher, by: Option<Uuid>) -> Result<()> {
    tx.execute(
        "INSERT INTO plugin_publishers (plugin, public_key, created_at, updated_at, updated_by) VALUES ($1, $2, $3, $3, $4)
         ON CONFLICT (plugin) DO UPDATE SET public_key = excluded.public_key, updated_at = excluded.updated_at,
            updated_by = excluded.updated_by",
        params![&publisher.plugin, &publisher.public_key, publisher.updated_at, by],
    )
    .await?;
    Ok(())
}

/// Forget a key; whether there was one.
pub async fn delete(tx: &mut PlatformTx, plugin: &str) -> Result<bool> {
    Ok(tx.execute("DELETE FROM plugin_publishers WHERE plugin = $1", params![plugin]).await? == 1)
}
