//! Who a credential speaks for, and whether they may.

use std::sync::Arc;

use chrono::TimeDelta;
use purlin_domain::{
    access::{Authority, Decision, Permission, PermissionSet},
    audit::Origin,
    id::{ApiKeyId, TenantId, UserId},
    principal::{Actor, Principal},
};
use purlin_store::{api_keys, roles, standing, users};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Platform, Result, ServiceError,
    access_cache::{Credential, Known},
    opaque, secrets, tokens,
};

/// An API key's last use is noted to this.
const LAST_USED_EVERY: TimeDelta = TimeDelta::seconds(60);

/// The principal behind an access token or an API key, with its authority as of now.
pub async fn authenticate(platform: &Platform, credential: &str, origin: Origin) -> Result<Principal> {
    if opaque::is_api_key(credential) {
        return by_api_key(platform, credential, origin).await;
    }
    let subject = tokens::verify(platform, credential).await?;
    let key = Credential::Session(subject.tenant, subject.session, subject.user);
    let known = match platform.access.get(&key) {
        Some(known) => known,
        None => {
            let asked_at = platform.access.now(subject.tenant);
            let mut tx = platform.db.read(subject.tenant).await?;
            let standing = standing::of_session(&mut tx, subject.user, subject.session, platform.now()).await?;
            let standing = standing.ok_or(ServiceError::Unauthenticated("this account is not active"))?;
            let known = Arc::new(Known {
                user: subject.user,
                permissions: standing.permissions,
                scopes: None,
                plan: standing.plan,
                is_operator: standing.is_operator,
            });
            platform.access.remember(key, asked_at, Arc::clone(&known));
            known
        }
    };
    let principal = principal(platform, subject.tenant, Actor::User(subject.user), &known, origin);
    Ok(Principal { session: Some(subject.session), ..principal })
}

async fn by_api_key(platform: &Platform, text: &str, origin: Origin) -> Result<Principal> {
    let bad = || ServiceError::Unauthenticated("the API key is not valid");
    let key = opaque::read_api_key(text).ok_or_else(bad)?;
    let id = ApiKeyId(key.id);
    let credential = Credential::ApiKey(key.tenant, id, *blake3::hash(&key.secret).as_bytes());
    let known = match platform.access.get(&credential) {
        Some(known) => known,
        None => {
            let asked_at = platform.access.now(key.tenant);
            let now = platform.now();
            let mut tx = platform.db.read(key.tenant).await?;
            let row = api_keys::by_id(&mut tx, id).await?.ok_or_else(bad)?;
            if !secrets::same(row.key_hash.as_bytes(), key.digest().as_bytes())
                || row.expires_at.is_some_and(|ends| ends <= now)
            {
                return Err(bad());
            }
            let standing = standing::of_user(&mut tx, row.user_id).await?.ok_or_else(bad)?;
            drop(tx);
            if row.last_used_at.is_none_or(|last| now - last >= LAST_USED_EVERY) {
                let mut tx = platform.db.write(key.tenant).await?;
                api_keys::set_last_used(&mut tx, id, now).await?;
                tx.commit().await?;
            }
            let known = Arc::new(Known {
                user: row.user_id,
                permissions: standing.permissions,
                // Scopes that cannot be read allow nothing.
                scopes: Some(serde_json::from_value(row.scopes).unwrap_or_default()),
                plan: standing.plan,
                // Running the platform takes a person who signed in.
                is_operator: false,
            });
            if row.expires_at.is_none_or(|ends| ends - now > TimeDelta::seconds(10)) {
                platform.access.remember(credential, asked_at, Arc::clone(&known));
            }
            known
        }
    };
    Ok(principal(platform, key.tenant, Actor::ApiKey(id, known.user), &known, origin))
}

fn principal(platform: &Platform, tenant: TenantId, actor: Actor, known: &Known, origin: Origin) -> Principal {
    Principal {
        tenant,
        actor,
        on_behalf_of: Some(known.user),
        authority: Arc::new(Authority {
            user: Some(known.permissions.clone()),
            scopes: known.scopes.clone(),
            grants: None,
            plan: platform.settings.plans.get(&known.plan).permissions,
        }),
        session: None,
        operator: known.is_operator,
        origin,
        idempotency: None,
    }
}

/// Refuse unless the principal holds this permission.
pub fn require(principal: &Principal, wanted: &Permission) -> Result<()> {
    match principal.decide(wanted) {
        Decision::Allowed => Ok(()),
        _ => Err(ServiceError::Forbidden(wanted.to_string())),
    }
}

/// Refuse unless the principal holds all of these: nobody grants what they lack.
pub(crate) fn require_all<'a>(principal: &Principal, wanted: impl IntoIterator<Item = &'a Permission>) -> Result<()> {
    wanted.into_iter().try_for_each(|permission| require(principal, permission))
}

/// Refuse unless the principal runs the platform.
pub fn require_operator(principal: &Principal) -> Result<()> {
    if principal.operator { Ok(()) } else { Err(ServiceError::Forbidden("platform:operate".to_owned())) }
}

/// Refuse an API key: what concerns the account itself takes a person who signed in.
pub(crate) fn require_person(principal: &Principal) -> Result<UserId> {
    match principal.actor {
        Actor::User(user) => Ok(user),
        _ => Err(ServiceError::Closed("sign_in_required", "an API key cannot do this; sign in")),
    }
}

/// A question about a decision.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Whose authority; the caller's when missing. Another's takes `users:read` and `roles:read`.
    pub user_id: Option<UserId>,
    /// The resource.
    pub resource: String,
    /// The action.
    pub action: String,
}

/// A decision, and how it came about.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The permission asked for.
    pub permission: Permission,
    /// What led to the decision, one step each.
    pub chain: Vec<Step>,
}

/// One step of a decision: all must allow.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Step {
    /// `user`, `api_key` or `plan`.
    pub part: &'static str,
    /// Whether this part allows it.
    pub allows: bool,
    /// What says so, such as `role admin: *:*`; empty when nothing does.
    pub because: Vec<String>,
}

/// Whether somebody may do something, and why.
pub async fn explain(platform: &Platform, principal: &Principal, question: &Question) -> Result<Explanation> {
    let name = format!("{}:{}", question.resource, question.action);
    let wanted: Permission =
        name.parse().map_err(|why: String| ServiceError::invalid("/resource", "permission", why))?;
    let own = principal.actor.user();
    let user = question.user_id.or(own).ok_or(ServiceError::NotFound)?;
    if Some(user) != own {
        require_all(principal, &[Permission::new("users", "read"), Permission::new("roles", "read")])?;
    }
    let mut tx = platform.db.read(principal.tenant).await?;
    let person = users::by_id(&mut tx, user).await?.ok_or(ServiceError::NotFound)?;
    let mut because = Vec::new();
    for role in roles::of_user(&mut tx, user).await? {
        let held = roles::permissions_of(&mut tx, role.id).await?;
        let covering = held.iter().map(|p| p.permission()).filter(|p| p.covers(&wanted));
        because.extend(covering.map(|p| format!("role {}: {p}", role.name)));
    }
    let mut chain = vec![Step { part: "user", allows: person.is_active && !because.is_empty(), because }];
    if let (true, Some(scopes)) = (Some(user) == own, &principal.authority.scopes) {
        chain.push(step("api_key", scopes, &wanted));
    }
    let tenant = purlin_store::tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)?;
    chain.push(step("plan", &platform.settings.plans.get(&tenant.plan).permissions, &wanted));
    Ok(Explanation { allowed: chain.iter().all(|step| step.allows), permission: wanted, chain })
}

fn step(part: &'static str, set: &PermissionSet, wanted: &Permission) -> Step {
    let because: Vec<String> = set.0.iter().filter(|held| held.covers(wanted)).map(ToString::to_string).collect();
    Step { part, allows: !because.is_empty(), because }
}
