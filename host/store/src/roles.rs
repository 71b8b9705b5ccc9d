//! Roles, what they permit, and who holds them.

use purlin_domain::{
    Timestamp,
    access::{Permission, PermissionSet},
    id::{RoleId, UserId},
};

use crate::{Result, TenantTx, value::params};

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
        "INSERT INTO roles (tenant_id, id, name, description, is_system, created_at, updated_at, created_by, updated_by)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $7)",
        params![role.id, role.name, role.description, role.is_system, now, by],
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

/// Give a role to a user.
pub async fn assign(tx: &mut TenantTx, user: UserId, role: RoleId, now: Timestamp, by: Option<UserId>) -> Result<()> {
    tx.execute(
        "INSERT INTO user_roles (tenant_id, user_id, role_id, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        params![user, role, now, by],
    )
    .await?;
    Ok(())
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

/// What stands behind a user's token at this moment.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whether the user runs the platform.
    pub is_operator: bool,
    /// The tenant's plan.
    pub plan: String,
    /// What the user's roles permit.
    pub permissions: PermissionSet,
}

/// A user's standing; none when the user or the tenant is not active. One statement, so
/// that it can be asked for every request.
pub async fn standing(tx: &mut TenantTx, user: UserId) -> Result<Option<Standing>> {
    let rows: Vec<(bool, String, Option<String>, Option<String>)> = tx
        .fetch_all(
            "SELECT u.is_operator, t.plan, p.resource, p.action FROM users u
             JOIN tenants t ON t.id = u.tenant_id
             LEFT JOIN user_roles ur ON ur.tenant_id = u.tenant_id AND ur.user_id = u.id
             LEFT JOIN role_permissions rp ON rp.tenant_id = ur.tenant_id AND rp.role_id = ur.role_id
             LEFT JOIN permissions p ON p.id = rp.permission_id
             WHERE u.tenant_id = $1 AND u.id = $2 AND u.is_active AND t.status = 'active'",
            params![user],
        )
        .await?;
    let Some((is_operator, plan, _, _)) = rows.first().cloned() else { return Ok(None) };
    let permissions =
        rows.into_iter().filter_map(|(_, _, resource, action)| Some(Permission::new(resource?, action?))).collect();
    Ok(Some(Standing { is_operator, plan, permissions: PermissionSet(permissions) }))
}
