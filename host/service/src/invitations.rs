//! Invitations: made by who may, sent by mail, accepted with what the mail carries.

use std::{sync::Arc, time::Duration};

use purlin_domain::{
    access::Authority,
    audit::Origin,
    error::Violation,
    id::{InvitationId, RoleId, UserId},
    principal::Principal,
    tenant::TenantStatus,
};
use purlin_store::{
    StoreError,
    invitations::{self, Invitation},
    standing, tenants, users,
    users::User,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{
    Platform, Result, ServiceError,
    auth::{self, SignedIn, email_violation, limit_address, name_violation, normalise, password_violation},
    change::{Change, Mutation, conflict},
    list::{ListPage, ListQuery, Prepared},
    native, opaque,
    password::Hashing,
};

/// How long an invitation can be accepted.
const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often one is sent at most.
const SENT_MAX: i64 = 10;

/// Somebody to be invited.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// The address.
    pub email: String,
    /// The roles that whoever accepts it gets.
    #[serde(default)]
    pub role_ids: Vec<RoleId>,
}

/// An invitation that is accepted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// What the mail carried.
    pub token: String,
    /// A password, at least 12 characters.
    pub password: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
}

/// A page of the tenant's invitations.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<Invitation>> {
    let prepared = Prepared::new(platform, principal.tenant, "invitations", &invitations::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = invitations::list(&mut tx, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// One invitation.
pub async fn get(platform: &Platform, principal: &Principal, id: InvitationId) -> Result<Invitation> {
    invitations::by_id(&mut platform.db.read(principal.tenant).await?, id).await?.ok_or(ServiceError::NotFound)
}

/// Invite somebody.
pub async fn create(platform: &Platform, principal: &Principal, new: NewInvitation) -> Result<Invitation> {
    if let Some(wrong) = email_violation("/email", &new.email) {
        return Err(ServiceError::Invalid(vec![wrong]));
    }
    native::limit_mails(platform, principal.tenant).await?;
    let email = normalise(&new.email);
    let mut change = Mutation::begin(platform, principal).await?;
    if users::by_email(&mut change.tx, &email).await?.is_some() {
        return Err(crate::users::email_taken());
    }
    crate::users::grantable(&mut change.tx, principal, &new.role_ids).await?;
    let id = platform.id();
    let (token, _) = opaque::invitation_token(platform, principal.tenant, id, 1);
    let invitation = Invitation {
        id,
        email,
        role_ids: json!(new.role_ids),
        status: "pending".to_owned(),
        secret_hash: token.digest(),
        invited_by: principal.actor.user().map(|user| user.0),
        sent_count: 1,
        expires_at: change.now + LIFE,
        created_at: change.now,
        updated_at: change.now,
    };
    let now = change.now;
    invitations::revoke_ended(&mut change.tx, &invitation.email, now).await?;
    match invitations::insert(&mut change.tx, &invitation).await {
        Err(StoreError::Taken(_)) => {
            let why = "this address has an invitation already; send that one again, or revoke it".to_owned();
            return Err(ServiceError::Conflict("invitation_pending", why));
        }
        done => done?,
    }
    // Counted once it is known that a mail goes out: what repeats a request sends none.
    native::limit_mails_to(platform, &invitation.email).await?;
    sent(platform, &mut change, &invitation, "invitation.created");
    change.finish(invitation).await
}

fn sent(platform: &Platform, change: &mut Mutation<'_>, invitation: &Invitation, what: &'static str) {
    let job = native::mail_job(platform, native::INVITATION, invitation.id.0, change.now);
    change.enqueue(job);
    change.note(Change {
        what,
        resource_type: "invitation",
        id: invitation.id.to_string(),
        changes: json!({
            "email": { "before": null, "after": invitation.email },
            "role_ids": { "before": null, "after": invitation.role_ids },
        }),
        data: None,
    });
}

/// The invitation, if it can still be changed.
async fn pending(change: &mut Mutation<'_>, id: InvitationId) -> Result<Invitation> {
    let found = invitations::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    if found.status == "pending" {
        return Ok(found);
    }
    Err(ServiceError::Conflict("not_pending", format!("the invitation was {}", found.status)))
}

async fn update(change: &mut Mutation<'_>, before: &Invitation, after: &mut Invitation) -> Result<()> {
    after.updated_at = change.after(before.updated_at);
    if invitations::update(&mut change.tx, after, before.updated_at).await? { Ok(()) } else { Err(conflict()) }
}

/// Send an invitation again, with a new token and a new end; what was sent before no longer works.
pub async fn resend(platform: &Platform, principal: &Principal, id: InvitationId) -> Result<Invitation> {
    native::limit_mails(platform, principal.tenant).await?;
    let present = get(platform, principal, id).await?;
    native::limit_mails_to(platform, &present.email).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let before = pending(&mut change, id).await?;
    let roles: Vec<RoleId> = serde_json::from_value(before.role_ids.clone()).map_err(ServiceError::internal)?;
    let roles = still_there(&mut change, roles).await?;
    crate::users::grantable(&mut change.tx, principal, &roles).await?;
    if before.sent_count >= SENT_MAX {
        let why = format!("it was sent {SENT_MAX} times; revoke it and make another");
        return Err(ServiceError::Conflict("sent_too_often", why));
    }
    let mut after = before.clone();
    after.sent_count += 1;
    after.secret_hash = opaque::invitation_token(platform, principal.tenant, id, after.sent_count).0.digest();
    after.expires_at = change.now + LIFE;
    update(&mut change, &before, &mut after).await?;
    sent(platform, &mut change, &after, "invitation.resent");
    change.finish(after).await
}

/// Take an invitation back. Nobody takes back one that promises what they lack.
pub async fn revoke(platform: &Platform, principal: &Principal, id: InvitationId) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = pending(&mut change, id).await?;
    let roles: Vec<RoleId> = serde_json::from_value(before.role_ids.clone()).map_err(ServiceError::internal)?;
    let roles = still_there(&mut change, roles).await?;
    crate::users::grantable(&mut change.tx, principal, &roles).await?;
    let mut after = Invitation { status: "revoked".to_owned(), ..before.clone() };
    update(&mut change, &before, &mut after).await?;
    change.note(Change {
        what: "invitation.revoked",
        resource_type: "invitation",
        id: id.to_string(),
        changes: json!({ "status": { "before": "pending", "after": "revoked" } }),
        data: None,
    });
    change.finish(()).await
}

fn is_good(found: &Invitation, digest: &str, now: purlin_domain::Timestamp) -> bool {
    found.status == "pending" && found.secret_hash == digest && found.expires_at > now
}

/// Accept an invitation: the account is made, its address proven, and signed in.
pub async fn accept(platform: &Platform, request: AcceptInvitation, origin: &Origin) -> Result<SignedIn> {
    limit_address(platform, origin).await?;
    let wrong: Vec<Violation> = [
        password_violation("/password", &request.password),
        name_violation("/first_name", request.first_name.as_deref()),
        name_violation("/last_name", request.last_name.as_deref()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    let bad = || {
        ServiceError::invalid("/token", "token", "this invitation is not valid; it may have been used or be too old")
    };
    let token = opaque::read_invitation_token(&request.token).ok_or_else(bad)?;
    // A hash is dear, so a token that is not good is refused before one is made.
    let found = invitations::by_id(&mut platform.db.read(token.tenant).await?, InvitationId(token.id)).await?;
    found.filter(|found| is_good(found, &token.digest(), platform.now())).ok_or_else(bad)?;
    let hash = platform.hasher.hash(&Hashing::SigningIn(origin.ip), &request.password).await?;
    let user_id = platform.id();
    let principal = auth::person(token.tenant, user_id, origin);
    let mut change = Mutation::begin(platform, &principal).await?;
    let found = invitations::by_id(&mut change.tx, InvitationId(token.id)).await?.ok_or_else(bad)?;
    let good = is_good(&found, &token.digest(), change.now);
    let tenant = tenants::own(&mut change.tx).await?.filter(|tenant| good && tenant.status == TenantStatus::Active);
    let tenant = tenant.ok_or_else(bad)?;
    let mut after = Invitation { status: "accepted".to_owned(), ..found.clone() };
    update(&mut change, &found, &mut after).await?;
    let user = User {
        id: user_id,
        email: found.email.clone(),
        password_hash: hash,
        first_name: request.first_name,
        last_name: request.last_name,
        is_active: true,
        is_verified: true,
        is_operator: false,
        last_login_at: None,
        created_at: change.now,
        updated_at: change.now,
    };
    // Who invited must still be there, and still may give what was promised.
    let inviter = found.invited_by.map(UserId).ok_or_else(bad)?;
    let standing = standing::of_user(&mut change.tx, inviter).await?.ok_or_else(bad)?;
    let authority = Authority {
        user: Some(standing.permissions),
        plan: platform.settings.plans.get(&standing.plan).permissions,
        ..Authority::default()
    };
    let inviter = Principal { authority: Arc::new(authority), ..principal.clone() };
    let roles: Vec<RoleId> = serde_json::from_value(found.role_ids.clone()).map_err(ServiceError::internal)?;
    let roles = still_there(&mut change, roles).await?;
    crate::users::insert(platform, &mut change, &inviter, user.clone(), &roles).await.map_err(|error| match error {
        ServiceError::Forbidden(_) => bad(),
        other => other,
    })?;
    change.note(Change {
        what: "invitation.accepted",
        resource_type: "invitation",
        id: found.id.to_string(),
        changes: json!({ "status": { "before": "pending", "after": "accepted" } }),
        data: None,
    });
    let job = native::mail_job(platform, native::WELCOME, user.id.0, change.now);
    change.enqueue(job);
    change.finish(()).await?;
    let tokens = auth::open(platform, &user, tenant.id, origin).await?;
    Ok(SignedIn { tenant, user, tokens })
}

/// Roles that were deleted since the invitation was made are left out.
async fn still_there(change: &mut Mutation<'_>, roles: Vec<RoleId>) -> Result<Vec<RoleId>> {
    let mut kept = Vec::new();
    for role in roles {
        if purlin_store::roles::by_id(&mut change.tx, role).await?.is_some() {
            kept.push(role);
        }
    }
    Ok(kept)
}
