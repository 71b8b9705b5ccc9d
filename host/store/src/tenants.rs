//! Tenants.

use purlin_domain::{
    Json, Timestamp,
    filter::{Field, FieldType},
    id::TenantId,
    tenant::TenantStatus,
    text::folded_copies,
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh, value::params};

/// A tenant.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct Tenant {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
    /// Its name in sign-in and addresses; unique.
    pub slug: String,
    /// The host name it is to be reached by; unique.
    pub domain: Option<String>,
    /// When whoever runs the platform approved the host name; until then it leads nowhere.
    pub domain_approved_at: Option<Timestamp>,
    /// Whether it is served.
    #[sqlx(try_from = "String")]
    pub status: TenantStatus,
    /// The plan it is on.
    pub plan: String,
    /// Its settings, an object.
    #[sqlx(try_from = "crate::document::Document")]
    pub settings: Json,
    /// When its roles and settings were made.
    pub provisioned_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Add a tenant: the one this transaction belongs to.
pub async fn insert(tx: &mut TenantTx, tenant: &Tenant) -> Result<()> {
    tx.execute(
        "INSERT INTO tenants (id, name, slug, domain, status, plan, settings, created_at, updated_at, folded)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            &tenant.name,
            &tenant.slug,
            tenant.domain.clone(),
            tenant.status.as_str(),
            &tenant.plan,
            &tenant.settings,
            tenant.created_at,
            tenant.updated_at,
            folded_copies([("name", tenant.name.as_str())])
        ],
    )
    .await?;
    Ok(())
}

macro_rules! own {
    ($lock:literal) => {
        concat!(
            "SELECT id, name, slug, domain, domain_approved_at, status, plan, settings, provisioned_at, created_at, updated_at FROM tenants WHERE id = $1",
            $lock
        )
    };
}

/// The tenant this transaction belongs to.
pub async fn own(tx: &mut TenantTx) -> Result<Option<Tenant>> {
    tx.fetch_optional(own!(""), params![]).await
}

/// The same, held so until the transaction ends.
pub async fn hold(tx: &mut TenantTx) -> Result<Option<Tenant>> {
    let sql = if tx.conn.is_postgres() {
        own!(" FOR NO KEY UPDATE")
    } else {
        // The writer is alone.
        own!("")
    };
    tx.fetch_optional(sql, params![]).await
}

/// Change the tenant this transaction belongs to, unless it changed since `read_at`.
pub async fn update(tx: &mut TenantTx, tenant: &Tenant, read_at: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE tenants SET name = $2, domain = $3, settings = $4, status = $5, plan = $6, provisioned_at = $7, updated_at = $8,
                domain_approved_at = $10, folded = $11
             WHERE id = $1 AND updated_at = $9",
            params![
                &tenant.name,
                tenant.domain.clone(),
                &tenant.settings,
                tenant.status.as_str(),
                &tenant.plan,
                tenant.provisioned_at,
                tenant.updated_at,
                read_at,
                tenant.domain_approved_at,
                folded_copies([("name", tenant.name.as_str())])
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// The tenant of this slug.
pub async fn id_by_slug(tx: &mut PlatformTx, slug: &str) -> Result<Option<TenantId>> {
    let row: Option<(Uuid,)> = tx.fetch_optional("SELECT id FROM tenants WHERE slug = $1", params![slug]).await?;
    Ok(row.map(|(id,)| TenantId(id)))
}

/// The tenant that is reached by this host name, where that was approved.
pub async fn id_by_domain(tx: &mut PlatformTx, domain: &str) -> Result<Option<TenantId>> {
    let sql = "SELECT id FROM tenants WHERE domain = $1 AND domain_approved_at IS NOT NULL";
    let row: Option<(Uuid,)> = tx.fetch_optional(sql, params![domain]).await?;
    Ok(row.map(|(id,)| TenantId(id)))
}

/// Which of the suspended tenants; at most a thousand, the latest first.
pub async fn suspended(tx: &mut PlatformTx) -> Result<Vec<TenantId>> {
    let rows: Vec<(Uuid,)> = tx
        .fetch_all("SELECT id FROM tenants WHERE status = 'suspended' ORDER BY updated_at DESC LIMIT 1000", Vec::new())
        .await?;
    Ok(rows.into_iter().map(|(id,)| TenantId(id)).collect())
}

/// Every tenant and its plan, a thousand at a time, after this one.
pub async fn plans(tx: &mut PlatformTx, after: Option<TenantId>) -> Result<Vec<OnPlan>> {
    tx.fetch_all(
        "SELECT id, plan, plan_mac FROM tenants WHERE id > $1 ORDER BY id LIMIT 1000",
        params![after.unwrap_or(TenantId(Uuid::nil()))],
    )
    .await
}

/// A tenant, and the plan it is on.
#[derive(Clone, Debug, FromRow)]
pub struct OnPlan {
    /// The tenant.
    #[sqlx(try_from = "Uuid")]
    pub id: TenantId,
    /// The plan.
    pub plan: String,
    /// By what a host knows that a host put it there.
    pub plan_mac: Option<String>,
}

/// Say by what hosts know that a host put the tenant on its plan.
pub async fn set_plan_mac(tx: &mut TenantTx, mac: &str) -> Result<()> {
    tx.execute("UPDATE tenants SET plan_mac = $2 WHERE id = $1", params![mac]).await?;
    Ok(())
}

/// What tenants can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    vec![
        Field::column("name", FieldType::Text).folded(),
        Field::column("slug", FieldType::Text),
        Field::nullable("domain", FieldType::Text),
        Field::listed("status", ["active", "suspended"]),
        Field::column("plan", FieldType::Text),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("updated_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

impl Weigh for Tenant {
    fn bytes(&self) -> usize {
        self.settings.to_string().len()
    }
}

/// A page of all tenants.
pub async fn list(tx: &mut PlatformTx, slice: &Slice<'_>) -> Result<Page<Tenant>> {
    let columns = &[
        "id",
        "name",
        "slug",
        "domain",
        "domain_approved_at",
        "status",
        "plan",
        "settings",
        "provisioned_at",
        "created_at",
        "updated_at",
    ];
    tx.list(&Listing { table: "tenants", columns, scope: Vec::new(), slice }).await
}
