//! API keys: for programs, with scopes no wider than what their maker may do.

use purlin_domain::{
    Timestamp,
    access::{Permission, PermissionSet},
    error::Violation,
    id::ApiKeyId,
    principal::Principal,
};
use purlin_store::{
    api_keys::{self, ApiKey},
    permissions, tenants,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError, access,
    auth::require_proof,
    change::{Change, Mutation},
    list::{ListPage, ListQuery, Prepared},
    opaque,
    users::require_what_they_may,
};

/// Keys of one user at most.
const KEYS_MAX: i64 = 100;
/// Scopes of one key at most.
const SCOPES_MAX: usize = 100;
/// Last characters of a key that are shown to recognise it by; the first ones are alike in a tenant.
const SHOWN: usize = 6;

/// A key to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What it is for.
    pub name: String,
    /// What it may be used for; the caller must hold each. It never does more than its
    /// maker may at the moment it is used.
    pub scopes: Vec<Permission>,
    /// When it ends; never when missing.
    pub expires_at: Option<Timestamp>,
}

/// A key, with the key itself. Shown once.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MadeApiKey {
    /// What is known of it later.
    #[serde(flatten)]
    pub api_key: ApiKey,
    /// The key, sent as `Authorization: Bearer <key>`.
    pub key: String,
}

/// A page of the tenant's keys.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<ApiKey>> {
    let prepared = Prepared::new(platform, principal.tenant, "api-keys", &api_keys::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = api_keys::list(&mut tx, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// One key, without the key itself.
pub async fn get(platform: &Platform, principal: &Principal, id: ApiKeyId) -> Result<ApiKey> {
    api_keys::by_id(&mut platform.db.read(principal.tenant).await?, id).await?.ok_or(ServiceError::NotFound)
}

/// Make a key for the caller.
pub async fn create(platform: &Platform, principal: &Principal, new: NewApiKey) -> Result<MadeApiKey> {
    let user = access::require_person(principal)?;
    let now = platform.now();
    let mut wrong = Vec::new();
    if !(1..=100).contains(&new.name.trim().chars().count()) {
        wrong.push(Violation::new("/name", "length", "give a name of 1 to 100 characters"));
    }
    if new.scopes.is_empty() || new.scopes.len() > SCOPES_MAX {
        wrong.push(Violation::new("/scopes", "size", format!("give 1 to {SCOPES_MAX} permissions")));
    }
    if new.expires_at.is_some_and(|ends| ends <= now) {
        wrong.push(Violation::new("/expires_at", "range", "this is in the past"));
    }
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    access::require_all(principal, &new.scopes)?;
    let mut catalogue = platform.db.platform_read().await?;
    for (i, scope) in new.scopes.iter().enumerate() {
        if !permissions::covers_any(&mut catalogue, scope).await? {
            wrong.push(Violation::new(
                format!("/scopes/{i}"),
                "unknown",
                "it covers nothing in the catalogue of permissions",
            ));
        }
    }
    drop(catalogue);
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    let mut change = Mutation::begin(platform, principal).await?;
    // A key outlives the session it was made in.
    require_proof(&mut change.tx, principal, now).await?;
    tenants::hold(&mut change.tx).await?;
    if api_keys::count_of_user(&mut change.tx, user).await? >= KEYS_MAX {
        return Err(ServiceError::Conflict("too_many_keys", format!("you have {KEYS_MAX} keys; delete one first")));
    }
    let id = platform.id();
    let (secret, key) = opaque::new_api_key(principal.tenant, id);
    let scopes = serde_json::to_value(PermissionSet(new.scopes)).map_err(ServiceError::internal)?;
    let api_key = ApiKey {
        id,
        user_id: user,
        name: new.name.trim().to_owned(),
        hint: key.chars().skip(key.chars().count().saturating_sub(SHOWN)).collect(),
        key_hash: secret.digest(),
        scopes,
        expires_at: new.expires_at,
        last_used_at: None,
        created_at: now,
        updated_at: now,
    };
    api_keys::insert(&mut change.tx, &api_key).await?;
    change.note(Change {
        what: "api_key.created",
        resource_type: "api_key",
        id: id.to_string(),
        changes: json!({
            "name": { "before": null, "after": api_key.name },
            "scopes": { "before": null, "after": api_key.scopes },
            "expires_at": { "before": null, "after": api_key.expires_at },
        }),
        data: None,
    });
    change.finish(MadeApiKey { api_key, key }).await
}

/// Take a key away.
pub async fn delete(platform: &Platform, principal: &Principal, id: ApiKeyId) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let key = api_keys::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    if principal.actor.user() != Some(key.user_id) {
        require_what_they_may(&mut change.tx, principal, key.user_id).await?;
    }
    api_keys::delete(&mut change.tx, id).await?;
    change.note(Change {
        what: "api_key.deleted",
        resource_type: "api_key",
        id: id.to_string(),
        changes: json!({ "name": { "before": key.name, "after": null } }),
        data: None,
    });
    change.finish(()).await
}
