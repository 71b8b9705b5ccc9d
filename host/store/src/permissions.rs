//! The catalogue of permissions: the platform's, and those of uploaded plugins.

use purlin_domain::{
    Timestamp,
    access::Permission,
    filter::{Field, FieldType},
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, PlatformTx, Result, Slice, Weigh, value::params};

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

/// A permission of the catalogue.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct CataloguePermission {
    /// Its id.
    pub id: Uuid,
    /// What it is about.
    pub resource: String,
    /// What may be done.
    pub action: String,
    /// What it allows, for people.
    pub description: String,
    /// The plugin that brings it; none for the platform's own.
    pub plugin: Option<String>,
}

impl CataloguePermission {
    /// As decisions are made over it.
    pub fn permission(&self) -> Permission {
        Permission::new(&self.resource, &self.action)
    }
}

impl Weigh for CataloguePermission {
    fn bytes(&self) -> usize {
        self.description.len()
    }
}

/// The permission of this id.
pub async fn by_id(tx: &mut PlatformTx, id: Uuid) -> Result<Option<CataloguePermission>> {
    tx.fetch_optional("SELECT id, resource, action, description, plugin FROM permissions WHERE id = $1", params![id])
        .await
}

/// The permission of this name.
pub async fn by_name(tx: &mut PlatformTx, permission: &Permission) -> Result<Option<CataloguePermission>> {
    tx.fetch_optional(
        "SELECT id, resource, action, description, plugin FROM permissions WHERE resource = $1 AND action = $2",
        params![&permission.resource, &permission.action],
    )
    .await
}

/// Whether a permission, `*` standing for every resource or action, covers any of the catalogue.
pub async fn covers_any(tx: &mut PlatformTx, permission: &Permission) -> Result<bool> {
    let row: Option<(Uuid,)> = tx
        .fetch_optional(
            "SELECT id FROM permissions WHERE (resource = $1 OR $1 = '*') AND (action = $2 OR $2 = '*') LIMIT 1",
            params![&permission.resource, &permission.action],
        )
        .await?;
    Ok(row.is_some())
}

/// What the catalogue can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    vec![
        Field::column("resource", FieldType::Text),
        Field::column("action", FieldType::Text),
        Field::column("plugin", FieldType::Text),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of the catalogue.
pub async fn list(tx: &mut PlatformTx, slice: &Slice<'_>) -> Result<Page<CataloguePermission>> {
    let columns = &["id", "resource", "action", "description", "plugin"];
    tx.list(&Listing { table: "permissions", columns, scope: Vec::new(), slice }).await
}
