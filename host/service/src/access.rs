//! Who a token speaks for, and whether they may.

use purlin_domain::{
    access::{Authority, Permission},
    audit::Origin,
    plan,
    principal::{Actor, Principal},
};
use purlin_store::roles;

use crate::{Platform, Result, ServiceError, tokens};

/// The principal behind an access token, with its authority as of now.
pub async fn authenticate(platform: &Platform, token: &str, origin: Origin) -> Result<Principal> {
    let subject = tokens::verify(platform, token)?;
    let mut tx = platform.db.read(subject.tenant).await?;
    let standing = roles::standing(&mut tx, subject.user)
        .await?
        .ok_or(ServiceError::Unauthenticated("this account is not active"))?;
    Ok(Principal {
        tenant: subject.tenant,
        actor: Actor::User(subject.user),
        on_behalf_of: Some(subject.user),
        authority: Authority {
            user: Some(standing.permissions),
            grants: None,
            plan: plan::allows(&standing.plan).unwrap_or_default(),
        },
        operator: standing.is_operator,
        origin,
    })
}

/// Refuse unless the principal holds this permission.
pub fn require(principal: &Principal, wanted: &Permission) -> Result<()> {
    match principal.decide(wanted) {
        purlin_domain::access::Decision::Allowed => Ok(()),
        _ => Err(ServiceError::Forbidden(wanted.to_string())),
    }
}

/// Refuse unless the principal runs the platform.
pub fn require_operator(principal: &Principal) -> Result<()> {
    if principal.operator { Ok(()) } else { Err(ServiceError::Forbidden("platform:operate".to_owned())) }
}
