//! Sessions: opened by a sign-in, kept alive by refresh tokens, ended by a sign-out.
//!
//! A refresh token is good once. One that comes again within ten seconds gets the same
//! successor, since the answer may have been lost; one that comes later was stolen from
//! somebody, and ends the session for thief and owner alike.

use std::time::Duration;

use purlin_domain::{
    audit::Origin,
    filter::{Field, FieldType, Filter, Op, Operand},
    id::{SessionId, TenantId, UserId},
    principal::Principal,
};
use purlin_store::{
    roles,
    sessions::{self, Session},
    standing, users,
    users::User,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{limit_address, person};
use crate::{
    Platform, Result, ServiceError, access,
    change::{Change, Mutation},
    list::{ListPage, ListQuery, Prepared},
    opaque::RefreshToken,
    tokens::{self, Subject, Tokens},
};

/// How long a session lives without being refreshed.
pub const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a refresh token that was exchanged already gets the same successor.
const GRACE: Duration = Duration::from_secs(10);

/// A refresh token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshOnly {
    /// The token.
    pub refresh_token: String,
}

/// Open a session for a user who proved to be one.
pub(crate) async fn open(platform: &Platform, user: &User, tenant: TenantId, origin: &Origin) -> Result<Tokens> {
    let principal = person(tenant, user.id, origin);
    let mut change = Mutation::begin(platform, &principal).await?;
    // What was proven may not be so any more: the password was changed, or the user removed.
    let still = users::hold(&mut change.tx, user.id).await?;
    if still.is_none_or(|now| !now.is_active || now.password_hash != user.password_hash) {
        return Err(ServiceError::Unauthenticated("the account changed meanwhile; sign in again"));
    }
    let session = Session {
        id: platform.id(),
        user_id: user.id,
        generation: 0,
        rotated_at: change.now,
        expires_at: change.now + LIFE,
        revoked_at: None,
        ip: origin.ip.map(|ip| ip.to_string()),
        user_agent: origin.user_agent.clone(),
        proven_at: Some(change.now),
        created_at: change.now,
    };
    sessions::insert(&mut change.tx, &session).await?;
    let now = change.now;
    users::set_last_login(&mut change.tx, user.id, now).await?;
    let roles = roles::names_of_user(&mut change.tx, user.id).await?;
    change.note(noted(session.id, "session.opened"));
    change.finish(()).await?;
    pair(platform, tenant, user.id, session.id, 0, roles)
}

fn pair(
    platform: &Platform,
    tenant: TenantId,
    user: UserId,
    session: SessionId,
    generation: i64,
    roles: Vec<String>,
) -> Result<Tokens> {
    let (access_token, expires_in) = tokens::issue(platform, Subject { tenant, user, session }, roles)?;
    let refresh_token = RefreshToken { tenant, session, generation }.write(platform);
    Ok(Tokens { access_token, refresh_token, token_type: "Bearer", expires_in })
}

/// Exchange a refresh token for the next pair.
pub async fn refresh(platform: &Platform, token: &str, origin: &Origin) -> Result<Tokens> {
    let bad = || ServiceError::Unauthenticated("the refresh token is not valid; sign in again");
    limit_address(platform, origin).await?;
    let RefreshToken { tenant, session, generation } = RefreshToken::read(platform, token).ok_or_else(bad)?;
    let mut tx = platform.db.write(tenant).await?;
    let now = platform.now();
    let found = sessions::hold(&mut tx, session).await?.ok_or_else(bad)?;
    if found.revoked_at.is_some() || found.expires_at <= now {
        return Err(bad());
    }
    let next = match found.generation - generation {
        0 => {
            sessions::rotate(&mut tx, session, found.generation + 1, now, now + LIFE).await?;
            found.generation + 1
        }
        1 if now - found.rotated_at <= chrono::TimeDelta::seconds(GRACE.as_secs() as i64) => found.generation,
        _ => {
            drop(tx);
            return end_stolen(platform, tenant, &found, origin).await.and_then(|()| Err(bad()));
        }
    };
    let user = found.user_id;
    standing::of_user(&mut tx, user).await?.ok_or_else(bad)?;
    let roles = roles::names_of_user(&mut tx, user).await?;
    tx.commit().await?;
    pair(platform, tenant, user, session, next, roles)
}

/// A refresh token came again: the session ends, and the log says why.
async fn end_stolen(platform: &Platform, tenant: TenantId, session: &Session, origin: &Origin) -> Result<()> {
    let principal = Principal::system(tenant, origin.clone());
    let mut change = Mutation::begin(platform, &principal).await?;
    let now = change.now;
    if sessions::revoke(&mut change.tx, session.id, session.user_id, now).await? {
        change.note(noted(session.id, "session.reuse_detected"));
        change.finish(()).await?;
        tracing::warn!(session = %session.id, "a refresh token was used twice; its session was ended");
    }
    Ok(())
}

/// End the session of this access token.
pub async fn logout(platform: &Platform, principal: &Principal) -> Result<()> {
    let user = access::require_person(principal)?;
    let Some(session) = principal.session else { return Ok(()) };
    revoke(platform, principal, user, session).await.map(drop)
}

/// A page of the caller's open sessions.
pub async fn list_sessions(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<Session>> {
    let user = access::require_person(principal)?;
    let mut prepared = Prepared::new(platform, principal.tenant, "auth/sessions", &sessions::fields(), query)?;
    let ends = Field::column("expires_at", FieldType::Timestamp);
    let is_open = Filter::Is(ends, Op::Gt, vec![Operand::Timestamp(platform.now())]);
    prepared.filter = Filter::And(vec![prepared.filter, is_open]);
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = sessions::list(&mut tx, user, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// End one of the caller's sessions.
pub async fn revoke_session(platform: &Platform, principal: &Principal, session: SessionId) -> Result<()> {
    let user = access::require_person(principal)?;
    if revoke(platform, principal, user, session).await? { Ok(()) } else { Err(ServiceError::NotFound) }
}

async fn revoke(platform: &Platform, principal: &Principal, user: UserId, session: SessionId) -> Result<bool> {
    let mut change = Mutation::begin(platform, principal).await?;
    let now = change.now;
    if !sessions::revoke(&mut change.tx, session, user, now).await? {
        return Ok(false);
    }
    change.note(noted(session, "session.revoked"));
    change.finish(()).await?;
    Ok(true)
}

fn noted(session: SessionId, what: &'static str) -> Change {
    Change { what, resource_type: "session", id: session.to_string(), changes: json!({}), data: None }
}
