//! The catalogue of permissions: the platform's, and those of uploaded plugins.

use purlin_domain::{Timestamp, access::Permission};
use uuid::Uuid;

use crate::{PlatformTx, Result, value::params};

/// A permission for the catalogue.
#[derive(Clone, Debug)]
pub struct NewPermission {
    /// Its id, if it is new.
    pub id: Uuid,
    /// The permission.
    pub permission: Permission,
    /// What it allows, for people.
    pub description: String,
    /// The plugin that brings it.
    pub plugin: Option<String>,
}

/// Add it, unless it is there.
pub async fn ensure(tx: &mut PlatformTx, new: &NewPermission, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO permissions (id, resource, action, description, plugin, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (resource, action) DO NOTHING",
        params![new.id, &new.permission.resource, &new.permission.action, &new.description, new.plugin.clone(), now],
    )
    .await?;
    Ok(())
}
