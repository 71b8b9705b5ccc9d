//! The people of a tenant.

mod authority;

use purlin_domain::{
    Json,
    audit::difference,
    error::Violation,
    id::{RoleId, TenantId, UserId},
    plan::ADMIN,
    principal::Principal,
};
use purlin_store::{
    StoreError, TenantTx, api_keys, jobs, one_time_tokens, roles, roles::Role, second_factors, sessions, usage, users,
    users::User,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError, access,
    auth::{email_violation, name_violation, normalise, password_violation},
    change::{Change, Mutation, conflict, expect},
    list::{ListPage, ListQuery, Prepared},
    native,
    password::Hashing,
};

pub(crate) use authority::{grantable, require_what_they_may};
use authority::{keep_an_admin, require_proof_for, require_what_it_permits};

/// Roles of one user at most.
const ROLES_MAX: usize = 50;

/// A user, with roles.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UserView {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// The names of the user's roles.
    pub roles: Vec<String>,
}

/// What a user may change of oneself. A field that is missing stays; null empties it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMe {
    /// First name.
    #[serde(default, deserialize_with = "present")]
    pub first_name: Option<Option<String>>,
    /// Last name.
    #[serde(default, deserialize_with = "present")]
    pub last_name: Option<Option<String>>,
}

/// A user to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The address.
    pub email: String,
    /// The password, at least 12 characters. Without one the user gets a mail to set it.
    pub password: Option<String>,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Roles to begin with.
    #[serde(default)]
    pub role_ids: Vec<RoleId>,
}

/// What may be changed of a user. A field that is missing stays; null empties a name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    /// The address; it counts as not proven then.
    pub email: Option<String>,
    /// First name.
    #[serde(default, deserialize_with = "present")]
    pub first_name: Option<Option<String>>,
    /// Last name.
    #[serde(default, deserialize_with = "present")]
    pub last_name: Option<Option<String>>,
    /// Whether the user may sign in.
    pub is_active: Option<bool>,
}

impl From<ChangeMe> for ChangeUser {
    fn from(me: ChangeMe) -> Self {
        Self { first_name: me.first_name, last_name: me.last_name, ..Self::default() }
    }
}

impl ChangeUser {
    fn applied_to(self, before: &User) -> User {
        let mut after = before.clone();
        after.first_name = self.first_name.unwrap_or(after.first_name);
        after.last_name = self.last_name.unwrap_or(after.last_name);
        after.is_active = self.is_active.unwrap_or(after.is_active);
        if let Some(email) = self.email.map(|email| normalise(&email)).filter(|email| *email != before.email) {
            (after.email, after.is_verified) = (email, false);
        }
        after
    }
}

/// What the audit log and subscribers are shown of a user.
fn shown(user: &User) -> Json {
    json!({
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "is_active": user.is_active,
        "is_verified": user.is_verified,
    })
}

/// Tells a null from a missing field.
pub(crate) fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    value: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(value).map(Some)
}

/// The caller.
pub async fn me(platform: &Platform, principal: &Principal) -> Result<UserView> {
    get(platform, principal, own_id(principal)?).await
}

/// Change the caller's own account.
pub async fn change_me(
    platform: &Platform,
    principal: &Principal,
    wanted: ChangeMe,
    expected: Option<purlin_domain::Timestamp>,
) -> Result<UserView> {
    change(platform, principal, access::require_person(principal)?, wanted.into(), expected).await
}

fn own_id(principal: &Principal) -> Result<UserId> {
    principal.actor.user().ok_or(ServiceError::NotFound)
}

/// A user of the tenant.
pub async fn get(platform: &Platform, principal: &Principal, id: UserId) -> Result<UserView> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let user = users::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)?;
    let roles = roles::names_of_user(&mut tx, id).await?;
    Ok(UserView { user, roles })
}

/// A page of the tenant's users.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<User>> {
    let prepared = Prepared::new(platform, principal.tenant, "users", &users::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = users::list(&mut tx, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// Make a user.
pub async fn create(platform: &Platform, principal: &Principal, new: NewUser) -> Result<UserView> {
    let wrong: Vec<Violation> = [
        email_violation("/email", &new.email),
        new.password.as_deref().and_then(|password| password_violation("/password", password)),
        name_violation("/first_name", new.first_name.as_deref()),
        name_violation("/last_name", new.last_name.as_deref()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    native::limit_mails(platform, principal.tenant).await?;
    let sets_own = new.password.is_none();
    let hash = match new.password {
        Some(password) => platform.hasher.hash(&Hashing::of(principal), &password).await?,
        None => String::new(),
    };
    let mut change = Mutation::begin(platform, principal).await?;
    let user = User {
        id: platform.id(),
        email: normalise(&new.email),
        password_hash: hash,
        first_name: new.first_name,
        last_name: new.last_name,
        is_active: true,
        is_verified: false,
        is_operator: false,
        last_login_at: None,
        created_at: change.now,
        updated_at: change.now,
    };
    let view = insert(platform, &mut change, principal, user, &new.role_ids).await?;
    // Counted once it is known that a mail goes out: what repeats a request sends none.
    native::limit_mails_to(platform, &view.user.email).await?;
    let kind = if sets_own { native::PASSWORD_RESET } else { native::WELCOME };
    let job = native::mail_job(platform, kind, view.user.id.0, change.now);
    change.enqueue(job);
    change.finish(view).await
}

/// Add a user with these roles, within the plan, and tell so.
pub(crate) async fn insert(
    platform: &Platform,
    change: &mut Mutation<'_>,
    principal: &Principal,
    user: User,
    role_ids: &[RoleId],
) -> Result<UserView> {
    let by = principal.actor.user();
    match users::insert(&mut change.tx, &user, by).await {
        Err(StoreError::Taken(_)) => return Err(email_taken()),
        done => done?,
    }
    within_plan(platform, &mut change.tx).await?;
    let now = change.now;
    let mut names = Vec::new();
    for role in grantable(&mut change.tx, principal, role_ids).await? {
        if roles::assign(&mut change.tx, user.id, role.id, now, by).await? {
            names.push(role.name);
        }
    }
    change.note(Change {
        what: "user.created",
        resource_type: "user",
        id: user.id.to_string(),
        changes: json!({
            "email": { "before": null, "after": user.email },
            "roles": { "before": null, "after": names },
        }),
        data: Some(json!({ "id": user.id, "email": user.email })),
    });
    names.sort();
    Ok(UserView { user, roles: names })
}

pub(crate) fn email_taken() -> ServiceError {
    ServiceError::Conflict("email_taken", "somebody in the tenant has this address already".to_owned())
}

/// Refuse when the plan has no room for the users that there are now. The tenant is held, so
/// that two requests do not both find the last place.
async fn within_plan(platform: &Platform, tx: &mut TenantTx) -> Result<()> {
    let tenant = purlin_store::tenants::hold(tx).await?.ok_or(ServiceError::NotFound)?;
    let Some(ceiling) = platform.settings.plans.get(&tenant.plan).users_max else { return Ok(()) };
    if usage::users(tx).await? > i64::try_from(ceiling).unwrap_or(i64::MAX) {
        return Err(ServiceError::Closed("plan_limit", "the tenant's plan has no room for another user"));
    }
    Ok(())
}

/// Change a user.
pub async fn change(
    platform: &Platform,
    principal: &Principal,
    id: UserId,
    wanted: ChangeUser,
    expected: Option<purlin_domain::Timestamp>,
) -> Result<UserView> {
    let wrong: Vec<Violation> = [
        wanted.email.as_deref().and_then(|email| email_violation("/email", email)),
        name_violation("/first_name", wanted.first_name.as_ref().and_then(|n| n.as_deref())),
        name_violation("/last_name", wanted.last_name.as_ref().and_then(|n| n.as_deref())),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    if let Some(email) = &wanted.email {
        limit_new_address(platform, principal.tenant, id, email).await?;
    }
    let mut change = Mutation::begin(platform, principal).await?;
    let before = users::hold(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    expect(before.updated_at, expected)?;
    let mut after = wanted.applied_to(&before);
    let changes = difference(&shown(&before), &shown(&after));
    let names = roles::names_of_user(&mut change.tx, id).await?;
    if changes.as_object().is_none_or(serde_json::Map::is_empty) {
        return change.finish(UserView { user: before, roles: names }).await;
    }
    require_what_they_may(&mut change.tx, principal, id).await?;
    if after.email != before.email || after.is_active != before.is_active {
        require_proof_for(&mut change, principal, &before).await?;
    }
    if before.is_active && !after.is_active {
        keep_an_admin(&mut change.tx, &before).await?;
    }
    after.updated_at = change.after(before.updated_at);
    match users::update(&mut change.tx, &after, before.updated_at, principal.actor.user()).await {
        Err(StoreError::Taken(_)) => return Err(email_taken()),
        Ok(false) => return Err(conflict()),
        done => done?,
    };
    if before.is_active && !after.is_active {
        // After the user is changed: a sign-in that waited for it finds it so.
        let now = change.now;
        sessions::revoke_others(&mut change.tx, id, None, now).await?;
    }
    if after.email != before.email {
        one_time_tokens::delete_of_user(&mut change.tx, id).await?;
        let now = change.now;
        change.enqueue(native::mail_job(platform, native::VERIFICATION, id.0, now));
        change.enqueue(native::email_changed_job(platform, id, &before.email, now));
    }
    let mut data = shown(&after);
    json_patch::merge(&mut data, &json!({ "id": id }));
    let id = id.to_string();
    change.note(Change { what: "user.updated", resource_type: "user", id, changes, data: Some(data) });
    change.finish(UserView { user: after, roles: names }).await
}

/// Refuse to send very many mails to addresses that users are said to have.
async fn limit_new_address(platform: &Platform, tenant: TenantId, id: UserId, email: &str) -> Result<()> {
    let email = normalise(email);
    let present = users::by_id(&mut platform.db.read(tenant).await?, id).await?;
    if present.is_none_or(|present| present.email == email) {
        return Ok(());
    }
    native::limit_mails(platform, tenant).await?;
    native::limit_mails_to(platform, &email).await
}

/// Delete a user: sessions, keys and roles go, the row stays until it is erased, and the
/// address is free again.
pub async fn delete(
    platform: &Platform,
    principal: &Principal,
    id: UserId,
    expected: Option<purlin_domain::Timestamp>,
) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = users::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    expect(before.updated_at, expected)?;
    require_what_they_may(&mut change.tx, principal, id).await?;
    require_proof_for(&mut change, principal, &before).await?;
    keep_an_admin(&mut change.tx, &before).await?;
    let (now, by) = (change.now, principal.actor.user());
    users::delete(&mut change.tx, id, now, by).await?;
    sessions::revoke_others(&mut change.tx, id, None, now).await?;
    api_keys::delete_of_user(&mut change.tx, id).await?;
    one_time_tokens::delete_of_user(&mut change.tx, id).await?;
    for role in roles::of_user(&mut change.tx, id).await? {
        roles::unassign(&mut change.tx, id, role.id).await?;
    }
    change.note(Change {
        what: "user.deleted",
        resource_type: "user",
        id: id.to_string(),
        changes: json!({ "deleted": { "before": false, "after": true } }),
        data: Some(json!({ "id": id })),
    });
    change.finish(()).await
}

/// Erase what is personal of a deleted user, by a job; its id.
pub async fn erase(platform: &Platform, principal: &Principal, id: UserId) -> Result<Enqueued> {
    let mut change = Mutation::begin(platform, principal).await?;
    if !users::is_deleted(&mut change.tx, id).await? {
        return match users::by_id(&mut change.tx, id).await? {
            Some(_) => Err(ServiceError::Conflict("not_deleted", "delete the user first".to_owned())),
            None => Err(ServiceError::NotFound),
        };
    }
    let job = native::erase_job(platform, id, change.now);
    let key = job.unique_key.as_deref().unwrap_or_default();
    if let Some(waiting) = jobs::unfinished_with_key(&mut change.tx, &job.kind, key).await? {
        return change.finish(Enqueued { id: waiting }).await;
    }
    let enqueued = Enqueued { id: job.id };
    change.note(Change {
        what: "user.erasure_requested",
        resource_type: "user",
        id: id.to_string(),
        changes: json!({}),
        data: None,
    });
    change.enqueue(job);
    change.finish(enqueued).await
}

/// Take the second factor from somebody who lost the device and the recovery codes. Every
/// session of theirs ends.
pub async fn disable_second_factor(platform: &Platform, principal: &Principal, id: UserId) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let user = users::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    require_what_they_may(&mut change.tx, principal, id).await?;
    require_proof_for(&mut change, principal, &user).await?;
    if !second_factors::delete(&mut change.tx, id).await? {
        return Err(ServiceError::NotFound);
    }
    let now = change.now;
    sessions::revoke_others(&mut change.tx, id, None, now).await?;
    change.note(Change {
        what: "user.second_factor_disabled",
        resource_type: "user",
        id: id.to_string(),
        changes: json!({ "second_factor": { "before": "***", "after": null } }),
        data: Some(json!({ "id": id })),
    });
    change.finish(()).await
}

/// A job that was enqueued.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Enqueued {
    /// Its id; `GET /jobs/{id}` tells how it goes.
    pub id: purlin_domain::id::JobId,
}

/// Give a user a role.
pub async fn assign(platform: &Platform, principal: &Principal, user: UserId, role: RoleId) -> Result<UserView> {
    let mut change = Mutation::begin(platform, principal).await?;
    let found = users::by_id(&mut change.tx, user).await?.ok_or(ServiceError::NotFound)?;
    let role = roles::by_id(&mut change.tx, role).await?.ok_or(ServiceError::NotFound)?;
    require_what_it_permits(&mut change.tx, principal, role.id).await?;
    let (now, by) = (change.now, principal.actor.user());
    let new = roles::assign(&mut change.tx, user, role.id, now, by).await?;
    if new && roles::of_user(&mut change.tx, user).await?.len() > ROLES_MAX {
        return Err(ServiceError::Conflict("too_many_roles", format!("somebody has at most {ROLES_MAX} roles")));
    }
    settle_roles(change, principal, found, new.then_some((role, "role.assigned"))).await
}

/// Take a role from a user.
pub async fn unassign(platform: &Platform, principal: &Principal, user: UserId, role: RoleId) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let found = users::by_id(&mut change.tx, user).await?.ok_or(ServiceError::NotFound)?;
    let role = roles::by_id(&mut change.tx, role).await?.ok_or(ServiceError::NotFound)?;
    require_what_they_may(&mut change.tx, principal, user).await?;
    if role.is_system && role.name == ADMIN {
        keep_an_admin(&mut change.tx, &User { is_operator: false, ..found.clone() }).await?;
    }
    if !roles::unassign(&mut change.tx, user, role.id).await? {
        return Err(ServiceError::NotFound);
    }
    settle_roles(change, principal, found, Some((role, "role.unassigned"))).await.map(drop)
}

async fn settle_roles(
    mut change: Mutation<'_>,
    principal: &Principal,
    mut user: User,
    changed: Option<(Role, &'static str)>,
) -> Result<UserView> {
    if let Some((role, what)) = changed {
        user.updated_at = change.after(user.updated_at);
        users::touch(&mut change.tx, user.id, user.updated_at, principal.actor.user()).await?;
        let (before, after) = if what == "role.assigned" { (None, Some(&role.name)) } else { (Some(&role.name), None) };
        change.note(Change {
            what,
            resource_type: "user",
            id: user.id.to_string(),
            changes: json!({ "role": { "before": before, "after": after } }),
            data: Some(json!({ "user_id": user.id, "role_id": role.id, "role": role.name })),
        });
    }
    let roles = roles::names_of_user(&mut change.tx, user.id).await?;
    change.finish(UserView { user, roles }).await
}
