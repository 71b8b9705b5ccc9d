//! Who stands behind a credential at this moment, and what they may do: one statement, so
//! that it can be asked often.

use purlin_domain::{
    Timestamp,
    access::{Permission, PermissionSet},
    id::{SessionId, UserId},
};

use crate::{Result, TenantTx, value::params};

/// What stands behind a credential.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whether the user runs the platform.
    pub is_operator: bool,
    /// The tenant's plan.
    pub plan: String,
    /// What the user's roles permit.
    pub permissions: PermissionSet,
}

type Row = (bool, String, Option<String>, Option<String>);

macro_rules! standing {
    ($join:literal, $also:literal) => {
        concat!(
            "SELECT u.is_operator, t.plan, p.resource, p.action FROM users u
             JOIN tenants t ON t.id = u.tenant_id",
            $join,
            " LEFT JOIN user_roles ur ON ur.tenant_id = u.tenant_id AND ur.user_id = u.id
             LEFT JOIN role_permissions rp ON rp.tenant_id = ur.tenant_id AND rp.role_id = ur.role_id
             LEFT JOIN permissions p ON p.id = rp.permission_id
             WHERE u.tenant_id = $1 AND u.id = $2 AND u.is_active AND u.deleted_at IS NULL AND t.status = 'active'",
            $also
        )
    };
}

/// A user's standing under a session; none when the session ended, or the user or the
/// tenant is not active.
pub async fn of_session(
    tx: &mut TenantTx,
    user: UserId,
    session: SessionId,
    now: Timestamp,
) -> Result<Option<Standing>> {
    let sql = standing!(
        " JOIN sessions s ON s.tenant_id = u.tenant_id AND s.user_id = u.id",
        " AND s.id = $3 AND s.revoked_at IS NULL AND s.expires_at > $4"
    );
    Ok(standing(tx.fetch_all(sql, params![user, session, now]).await?))
}

/// A user's standing; none when the user or the tenant is not active.
pub async fn of_user(tx: &mut TenantTx, user: UserId) -> Result<Option<Standing>> {
    Ok(standing(tx.fetch_all(standing!("", ""), params![user]).await?))
}

fn standing(rows: Vec<Row>) -> Option<Standing> {
    let (is_operator, plan, _, _) = rows.first().cloned()?;
    let permissions =
        rows.into_iter().filter_map(|(_, _, resource, action)| Some(Permission::new(resource?, action?))).collect();
    Some(Standing { is_operator, plan, permissions: PermissionSet(permissions) })
}
