//! Tenants.

use purlin_domain::{Json, Timestamp, id::TenantId, tenant::TenantStatus};
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{PlatformTx, Result, TenantTx, value::params};

/// A tenant.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct Tenant {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
    /// Its name in sign-in and addresses; unique.
    pub slug: String,
    /// The host name it is reached by; unique.
    pub domain: Option<String>,
    /// Whether it is served.
    #[sqlx(try_from = "String")]
    pub status: TenantStatus,
    /// The plan it is on.
    pub plan: String,
    /// Its settings, an object.
    pub settings: Json,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Add a tenant: the one this transaction belongs to.
pub async fn insert(tx: &mut TenantTx, tenant: &Tenant) -> Result<()> {
    tx.execute(
        "INSERT INTO tenants (id, name, slug, domain, status, plan, settings, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            &tenant.name,
            &tenant.slug,
            tenant.domain.clone(),
            tenant.status.as_str(),
            &tenant.plan,
            &tenant.settings,
            tenant.created_at,
            tenant.updated_at
        ],
    )
    .await?;
    Ok(())
}

/// The tenant this transaction belongs to.
pub async fn own(tx: &mut TenantTx) -> Result<Option<Tenant>> {
    tx.fetch_optional(
        "SELECT id, name, slug, domain, status, plan, settings, created_at, updated_at FROM tenants WHERE id = $1",
        params![],
    )
    .await
}

/// Change the tenant this transaction belongs to, unless it changed since `read_at`.
pub async fn update(tx: &mut TenantTx, tenant: &Tenant, read_at: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE tenants SET name = $2, domain = $3, settings = $4, updated_at = $5 WHERE id = $1 AND updated_at = $6",
            params![&tenant.name, tenant.domain.clone(), &tenant.settings, tenant.updated_at, read_at],
        )
        .await?;
    Ok(changed == 1)
}

/// The tenant of this slug.
pub async fn id_by_slug(tx: &mut PlatformTx, slug: &str) -> Result<Option<TenantId>> {
    let row: Option<(Uuid,)> = tx.fetch_optional("SELECT id FROM tenants WHERE slug = $1", params![slug]).await?;
    Ok(row.map(|(id,)| TenantId(id)))
}
