//! Who may change whom: nobody gives what they lack, or takes over somebody who may do more.

use purlin_domain::{
    access::Permission,
    id::{RoleId, UserId},
    plan::ADMIN,
    principal::{Actor, Principal},
};
use purlin_store::{TenantTx, roles, roles::Role, users, users::User};

use super::ROLES_MAX;
use crate::{Result, ServiceError, access, auth::require_proof, change::Mutation};

/// Roles that the principal may give: nobody grants what they lack.
pub(crate) async fn grantable(tx: &mut TenantTx, principal: &Principal, ids: &[RoleId]) -> Result<Vec<Role>> {
    if ids.len() > ROLES_MAX {
        return Err(ServiceError::invalid("/role_ids", "size", format!("at most {ROLES_MAX}")));
    }
    let mut all = Vec::new();
    for (i, id) in ids.iter().enumerate() {
        let unknown =
            || ServiceError::invalid(&format!("/role_ids/{i}"), "unknown", "there is no such role in the tenant");
        all.push(roles::by_id(tx, *id).await?.ok_or_else(unknown)?);
        require_what_it_permits(tx, principal, *id).await?;
    }
    Ok(all)
}

pub(super) async fn require_what_it_permits(tx: &mut TenantTx, principal: &Principal, id: RoleId) -> Result<()> {
    let permits = roles::permissions_of(tx, id).await?;
    let permits: Vec<_> = permits.iter().map(|p| p.permission()).collect();
    access::require_all(principal, &permits)
}

/// Nobody takes over, or locks out, somebody who may do more.
pub(crate) async fn require_what_they_may(tx: &mut TenantTx, principal: &Principal, user: UserId) -> Result<()> {
    // A key is not its maker: it takes what the maker may.
    if principal.actor == Actor::User(user) {
        return Ok(());
    }
    let target = users::by_id(tx, user).await?.ok_or(ServiceError::NotFound)?;
    if target.is_operator {
        access::require_operator(principal)?;
    }
    for role in roles::of_user(tx, user).await? {
        require_what_it_permits(tx, principal, role.id).await?;
    }
    Ok(())
}

/// Refuse a change by which an account is taken over or locked out, of the caller's own or of one
/// that governs others, unless the caller has just given the password. A stolen token is not enough.
pub(super) async fn require_proof_for(change: &mut Mutation<'_>, principal: &Principal, user: &User) -> Result<()> {
    let now = change.now;
    let is_own = principal.actor.user() == Some(user.id);
    if is_own || user.is_operator || governs(&mut change.tx, user.id).await? {
        require_proof(&mut change.tx, principal, now).await?;
    }
    Ok(())
}

/// Whether a user may change what others may: users, roles, or everything.
async fn governs(tx: &mut TenantTx, user: UserId) -> Result<bool> {
    for role in roles::of_user(tx, user).await? {
        let permits = roles::permissions_of(tx, role.id).await?;
        let governing = |p: &Permission| matches!(p.resource.as_str(), "*" | "users" | "roles") && p.action != "read";
        if permits.iter().any(|permit| governing(&permit.permission())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuse to leave the tenant without an active administrator, and the platform without an operator.
pub(super) async fn keep_an_admin(tx: &mut TenantTx, user: &User) -> Result<()> {
    let is_operator = user.is_operator;
    let user = user.id;
    // Counting holds the administrators' role, so who has it does not change any more.
    let others = roles::other_admins(tx, user).await?;
    let is_admin = roles::of_user(tx, user).await?.iter().any(|role| role.is_system && role.name == ADMIN);
    if is_admin && others == 0 {
        return Err(ServiceError::Conflict(
            "last_admin",
            "this is the last active administrator; make another one first".to_owned(),
        ));
    }
    if is_operator && users::other_operators(tx, user).await? == 0 {
        return Err(ServiceError::Conflict(
            "last_operator",
            "this is the last operator; make another one first: `purlin operator add`".to_owned(),
        ));
    }
    Ok(())
}
