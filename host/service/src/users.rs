//! The caller's own account.

use purlin_domain::{audit::difference, id::UserId, principal::Principal};
use purlin_store::{roles, users, users::User};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError,
    auth::name_violation,
    change::{self, Change},
};

/// A user, with roles.
#[derive(Debug, Serialize)]
pub struct Me {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// The names of the user's roles.
    pub roles: Vec<String>,
}

/// What a user may change of oneself. A field that is missing stays; null empties it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeMe {
    /// First name.
    #[serde(default, deserialize_with = "present")]
    pub first_name: Option<Option<String>>,
    /// Last name.
    #[serde(default, deserialize_with = "present")]
    pub last_name: Option<Option<String>>,
}

/// Tells a null from a missing field.
pub(crate) fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    value: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(value).map(Some)
}

/// The caller.
pub async fn me(platform: &Platform, principal: &Principal) -> Result<Me> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let user = users::by_id(&mut tx, own_id(principal)?).await?.ok_or(ServiceError::NotFound)?;
    let roles = roles::names_of_user(&mut tx, user.id).await?;
    Ok(Me { user, roles })
}

/// Change the caller's own account.
pub async fn change_me(platform: &Platform, principal: &Principal, wanted: ChangeMe) -> Result<Me> {
    let wrong: Vec<_> = [
        name_violation("/first_name", wanted.first_name.as_ref().and_then(|n| n.as_deref())),
        name_violation("/last_name", wanted.last_name.as_ref().and_then(|n| n.as_deref())),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    let now = platform.now();
    let mut tx = platform.db.write(principal.tenant).await?;
    let before = users::by_id(&mut tx, own_id(principal)?).await?.ok_or(ServiceError::NotFound)?;
    let mut after = before.clone();
    after.first_name = wanted.first_name.unwrap_or(after.first_name);
    after.last_name = wanted.last_name.unwrap_or(after.last_name);
    let names = |user: &User| json!({ "first_name": user.first_name, "last_name": user.last_name });
    let changes = difference(&names(&before), &names(&after));
    if changes.as_object().is_some_and(|c| !c.is_empty()) {
        after.updated_at = now;
        if !users::update(&mut tx, &after, before.updated_at, principal.actor.user()).await? {
            return Err(ServiceError::Conflict("conflict", "another request changed it at the same moment".to_owned()));
        }
        let data = json!({ "id": after.id, "first_name": after.first_name, "last_name": after.last_name });
        let change = Change { what: "user.updated", resource_type: "user", id: after.id.to_string(), changes, data };
        change::tell(platform, &mut tx, principal, vec![change], now).await?;
    }
    let roles = roles::names_of_user(&mut tx, after.id).await?;
    tx.commit().await?;
    platform.wake_workers();
    Ok(Me { user: after, roles })
}

fn own_id(principal: &Principal) -> Result<UserId> {
    principal.actor.user().ok_or(ServiceError::NotFound)
}
