//! Roles, what they permit, and who holds them.

use purlin_domain::{
    Timestamp,
    access::Permission,
    filter::{Field, FieldType},
    id::{RoleId, UserId},
    plan::ADMIN,
    text::folded_copies,
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, Result, Slice, TenantTx, Weigh, permissions::CataloguePermission, value::params};

/// A role about to be made.
#[derive(Clone, Debug)]
pub struct NewRole<'a> {
    /// Its id.
    pub id: RoleId,
    /// Its name, unique within the tenant.
    pub name: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// Made and kept by the platform; cannot be edited.
    pub is_system: bool,
}

/// Add a role that permits all of `permissions`, which must be in the catalogue.
pub async fn insert(
    tx: &mut TenantTx,
    role: &NewRole<'_>,
    permissions: &[Permission],
    now: Timestamp,
    by: Option<UserId>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO roles (tenant_id, id, name, description, is_system, created_at, updated_at, created_by, updated_by, folded)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $7, $8)",
        params![role.id, role.name, role.description, role.is_system, now, by, folded_copies([("name", role.name)])],
    )
    .await?;
    for permission in permissions {
        tx.execute(
            "INSERT INTO role_permissions (tenant_id, role_id, permission_id, created_at, created_by)
             SELECT $1, $2, p.id, $5, $6 FROM permissions p WHERE p.resource = $3 AND p.action = $4",
            params![role.id, &permission.resource, &permission.action, now, by],
        )
        .await?;
    }
    Ok(())
}

/// Give a role to a user; whether the user did not have it.
pub async fn assign(tx: &mut TenantTx, user: UserId, role: RoleId, now: Timestamp, by: Option<UserId>) -> Result<bool> {
    let changed = tx
        .execute(
            "INSERT INTO user_roles (tenant_id, user_id, role_id, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            params![user, role, now, by],
        )
        .await?;
    Ok(changed == 1)
}

/// The names of a user's roles.
pub async fn names_of_user(tx: &mut TenantTx, user: UserId) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = tx
        .fetch_all(
            "SELECT r.name FROM user_roles ur
             JOIN roles r ON r.tenant_id = ur.tenant_id AND r.id = ur.role_id
             WHERE ur.tenant_id = $1 AND ur.user_id = $2 ORDER BY r.name",
            params![user],
        )
        .await?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

/// Every role of the tenant, with its name.
pub async fn names(tx: &mut TenantTx) -> Result<Vec<(RoleId, String)>> {
    let rows: Vec<(Uuid, String)> = tx.fetch_all("SELECT id, name FROM roles WHERE tenant_id = $1", params![]).await?;
    Ok(rows.into_iter().map(|(id, name)| (RoleId(id), name)).collect())
}

/// A role.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct Role {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: RoleId,
    /// Its name, unique within the tenant.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Made and kept by the platform; cannot be edited.
    pub is_system: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Weigh for Role {
    fn bytes(&self) -> usize {
        self.description.len()
    }
}

macro_rules! by_id {
    ($lock:literal) => {
        concat!(
            "SELECT id, name, description, is_system, created_at, updated_at FROM roles WHERE tenant_id = $1 AND id = $2",
            $lock
        )
    };
}

/// The role of this id.
pub async fn by_id(tx: &mut TenantTx, id: RoleId) -> Result<Option<Role>> {
    tx.fetch_optional(by_id!(""), params![id]).await
}

/// The role of this id, held so until the transaction ends.
pub async fn hold(tx: &mut TenantTx, id: RoleId) -> Result<Option<Role>> {
    let sql = if tx.conn.is_postgres() {
        by_id!(" FOR UPDATE")
    } else {
        // The writer is alone.
        by_id!("")
    };
    tx.fetch_optional(sql, params![id]).await
}

/// The id of the role of this name.
pub async fn id_by_name(tx: &mut TenantTx, name: &str) -> Result<Option<RoleId>> {
    let row: Option<(Uuid,)> =
        tx.fetch_optional("SELECT id FROM roles WHERE tenant_id = $1 AND name = $2", params![name]).await?;
    Ok(row.map(|(id,)| RoleId(id)))
}

/// What roles can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    vec![
        Field::column("name", FieldType::Text).folded(),
        Field { sortable: false, ..Field::column("is_system", FieldType::Boolean) },
        Field::column("created_at", FieldType::Timestamp),
        Field::column("updated_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of the tenant's roles.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<Role>> {
    let columns = &["id", "name", "description", "is_system", "created_at", "updated_at"];
    tx.list(&Listing { table: "roles", columns, scope: Vec::new(), slice }).await
}

/// Change a role, unless it changed since `read_at`.
pub async fn update(tx: &mut TenantTx, role: &Role, read_at: Timestamp, by: Option<UserId>) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE roles SET name = $3, description = $4, updated_at = $5, updated_by = $6, folded = $8
             WHERE tenant_id = $1 AND id = $2 AND updated_at = $7",
            params![
                role.id,
                &role.name,
                &role.description,
                role.updated_at,
                by,
                read_at,
                folded_copies([("name", role.name.as_str())])
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Delete a role; its users lose it.
pub async fn delete(tx: &mut TenantTx, id: RoleId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM roles WHERE tenant_id = $1 AND id = $2", params![id]).await? == 1)
}

/// What a role permits.
pub async fn permissions_of(tx: &mut TenantTx, id: RoleId) -> Result<Vec<CataloguePermission>> {
    tx.fetch_all(
        "SELECT p.id, p.resource, p.action, p.description, p.plugin FROM role_permissions rp
         JOIN permissions p ON p.id = rp.permission_id
         WHERE rp.tenant_id = $1 AND rp.role_id = $2 ORDER BY p.resource, p.action",
        params![id],
    )
    .await
}

/// Add a permission to a role; whether it was not there.
pub async fn permit(
    tx: &mut TenantTx,
    role: RoleId,
    permission: Uuid,
    now: Timestamp,
    by: Option<UserId>,
) -> Result<bool> {
    let changed = tx
        .execute(
            "INSERT INTO role_permissions (tenant_id, role_id, permission_id, created_at, created_by)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            params![role, permission, now, by],
        )
        .await?;
    Ok(changed == 1)
}

/// Take a permission from a role; whether it was there.
pub async fn forbid(tx: &mut TenantTx, role: RoleId, permission: Uuid) -> Result<bool> {
    let changed = tx
        .execute(
            "DELETE FROM role_permissions WHERE tenant_id = $1 AND role_id = $2 AND permission_id = $3",
            params![role, permission],
        )
        .await?;
    Ok(changed == 1)
}

/// A user's roles, by name.
pub async fn of_user(tx: &mut TenantTx, user: UserId) -> Result<Vec<Role>> {
    tx.fetch_all(
        "SELECT r.id, r.name, r.description, r.is_system, r.created_at, r.updated_at FROM user_roles ur
         JOIN roles r ON r.tenant_id = ur.tenant_id AND r.id = ur.role_id
         WHERE ur.tenant_id = $1 AND ur.user_id = $2 ORDER BY r.name",
        params![user],
    )
    .await
}

/// Take a role from a user; whether the user had it.
pub async fn unassign(tx: &mut TenantTx, user: UserId, role: RoleId) -> Result<bool> {
    let changed = tx
        .execute("DELETE FROM user_roles WHERE tenant_id = $1 AND user_id = $2 AND role_id = $3", params![user, role])
        .await?;
    Ok(changed == 1)
}

/// Hold the administrators' role, so that two requests cannot each remove the last but one;
/// then how many active users have it beside this one.
pub async fn other_admins(tx: &mut TenantTx, but: UserId) -> Result<i64> {
    if let Some(admin) = id_by_name(tx, ADMIN).await? {
        hold(tx, admin).await?;
    }
    let (count,): (i64,) = tx
        .fetch_one(
            "SELECT count(*) FROM user_roles ur
             JOIN roles r ON r.tenant_id = ur.tenant_id AND r.id = ur.role_id
             JOIN users u ON u.tenant_id = ur.tenant_id AND u.id = ur.user_id
             WHERE ur.tenant_id = $1 AND r.name = $2 AND r.is_system AND u.is_active AND u.deleted_at IS NULL AND u.id <> $3",
            params![ADMIN, but],
        )
        .await?;
    Ok(count)
}

/// Active administrators, so many at most.
pub async fn admins(tx: &mut TenantTx, most: u32) -> Result<Vec<UserId>> {
    let rows: Vec<(Uuid,)> = tx
        .fetch_all(
            "SELECT u.id FROM user_roles ur
             JOIN roles r ON r.tenant_id = ur.tenant_id AND r.id = ur.role_id
             JOIN users u ON u.tenant_id = ur.tenant_id AND u.id = ur.user_id
             WHERE ur.tenant_id = $1 AND r.name = $2 AND r.is_system AND u.is_active AND u.deleted_at IS NULL
             ORDER BY u.id LIMIT $3",
            params![ADMIN, most],
        )
        .await?;
    Ok(rows.into_iter().map(|(id,)| UserId(id)).collect())
}
