//! The account that runs the platform, made at first run.

use purlin_domain::audit::Origin;
use purlin_store::users;

use crate::{
    Platform, Result, ServiceError,
    auth::{FirstAdmin, email_violation, normalise, password_violation, provision},
    catalog, keys,
};

/// The slug of the tenant that operators belong to.
pub const TENANT: &str = "operators";

/// Put the permissions into the catalogue, prepare next months' partitions, make a key that
/// signs where there is none.
pub async fn prepare(platform: &Platform) -> Result<()> {
    platform.db.make_partitions(platform.now()).await?;
    catalog::seed(platform).await?;
    keys::prepare(platform).await
}

/// Whether somebody runs the platform already.
pub async fn exists(platform: &Platform) -> Result<bool> {
    Ok(users::operator_exists(&mut platform.db.platform_read().await?).await?)
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
        password_hash: platform.hasher.hash(password.to_owned()).await?,
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
            format!("nobody runs the platform, but a tenant `{TENANT}` is there; make one of its users the operator"),
        )),
    }
}
