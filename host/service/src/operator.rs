//! The account that runs the platform, made at first run.

use purlin_domain::{audit::Origin, id::TenantId, principal::Principal};
use purlin_store::{events, tenants, users, users::User};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError,
    auth::{FirstAdmin, email_violation, normalise, password_violation, provision},
    catalog,
    change::{Change, Mutation},
    keys,
    password::Hashing,
};

/// The slug of the tenant that operators belong to.
pub const TENANT: &str = "operators";

/// Put the permissions into the catalogue, prepare next months' partitions, have events stand after
/// those that are there, make a key that signs where there is none.
pub async fn prepare(platform: &Platform) -> Result<()> {
    platform.db.make_partitions(platform.now()).await?;
    let mut tx = platform.db.platform().await?;
    if events::settle_positions(&mut tx).await? {
        tracing::warn!(
            "the database counts transactions anew, as after a restore into another cluster; events go on after those that are there"
        );
    }
    tx.commit().await?;
    catalog::seed(platform).await?;
    keys::prepare(platform).await
}

/// Whether somebody runs the platform already.
pub async fn exists(platform: &Platform) -> Result<bool> {
    Ok(users::operator_exists(&mut platform.db.platform_read().await?).await?)
}

/// Who runs the platform.
pub async fn list(platform: &Platform) -> Result<Vec<User>> {
    let Some(tenant) = tenant(platform).await? else { return Ok(Vec::new()) };
    Ok(users::operators(&mut platform.db.read(tenant).await?).await?)
}

/// Let the user of the operators' tenant with this address run the platform, active; whether there
/// is one.
pub async fn add(platform: &Platform, email: &str) -> Result<bool> {
    set(platform, email, true).await
}

/// Let a user run the platform no more; whether there is one. The last one stays.
pub async fn remove(platform: &Platform, email: &str) -> Result<bool> {
    set(platform, email, false).await
}

async fn tenant(platform: &Platform) -> Result<Option<TenantId>> {
    Ok(tenants::id_by_slug(&mut platform.db.platform_read().await?, TENANT).await?)
}

async fn set(platform: &Platform, email: &str, is_operator: bool) -> Result<bool> {
    let Some(tenant) = tenant(platform).await? else { return Ok(false) };
    let principal = Principal::system(tenant, Origin { request_id: "command-line".to_owned(), ..Origin::default() });
    let mut change = Mutation::begin(platform, &principal).await?;
    let Some(user) = users::by_email(&mut change.tx, &normalise(email)).await? else { return Ok(false) };
    if !is_operator && users::other_operators(&mut change.tx, user.id).await? == 0 {
        return Err(ServiceError::Conflict(
            "last_operator",
            "this is the last operator; add another one first".to_owned(),
        ));
    }
    let now = change.after(user.updated_at);
    users::set_operator(&mut change.tx, user.id, is_operator, now).await?;
    change.note(Change {
        what: "user.updated",
        resource_type: "user",
        id: user.id.to_string(),
        changes: json!({ "is_operator": { "before": user.is_operator, "after": is_operator } }),
        data: Some(json!({ "id": user.id })),
    });
    change.finish(true).await
}

/// Make the operator's account.
pub async fn create(platform: &Platform, email: &str, password: &str) -> Result<()> {
    let wrong: Vec<_> = [email_violation("/operator_email", email), password_violation("/operator_password", password)]
        .into_iter()
        .flatten()
        .collect();
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    let first = FirstAdmin {
        tenant_name: "Operators".to_owned(),
        slug: TENANT.to_owned(),
        email: normalise(email),
        password_hash: platform.hasher.hash(&Hashing::SigningIn(None), password).await?,
        first_name: None,
        last_name: None,
        is_operator: true,
        is_verified: true,
    };
    let origin = Origin { request_id: "first-run".to_owned(), ..Origin::default() };
    match provision(platform, &first, &origin).await? {
        Some(_) => Ok(()),
        None => Err(ServiceError::Conflict(
            "operators_taken",
            format!(
                "nobody runs the platform, but a tenant `{TENANT}` is there; let one of its users: `purlin operator add`"
            ),
        )),
    }
}
