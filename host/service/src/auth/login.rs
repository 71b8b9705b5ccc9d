//! Signing in.

use std::time::Duration;

use purlin_domain::{audit::Origin, id::TenantId, tenant::TenantStatus};
use purlin_store::{second_factors, tenants, users};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::{SignedIn, limit_address, normalise, open, pace_account, second_factor};
use crate::{
    Platform, Result, ServiceError,
    limiter::{self, Rate},
    password::{self, Hashing},
};

/// Codes of a second factor that may be tried with the right password.
pub(super) const SECOND_FACTOR: Rate = Rate { name: "second-factor", burst: 10, interval: Duration::from_secs(300) };

/// Credentials.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
    /// The tenant's slug. When missing, the tenant that is reached by the host name of the
    /// request; else the one in which the address was proven, or has been known longest.
    pub tenant: Option<String>,
    /// A code of the second factor, or a recovery code, where the account has one.
    pub code: Option<String>,
}

/// Sign in. The answer is the same, and as slow, whether the address or the password is
/// wrong.
pub async fn login(platform: &Platform, login: Login, host: Option<&str>, origin: &Origin) -> Result<SignedIn> {
    let refused = || ServiceError::Unauthenticated("the address or the password is wrong");
    limit_address(platform, origin).await?;
    let email = normalise(&login.email);
    if login.password.len() > password::BYTES_MAX || email.len() > 320 {
        return Err(refused());
    }
    let tenant = {
        let _turn = platform.signing_in.acquire().await.map_err(ServiceError::internal)?;
        find_tenant(platform, &email, login.tenant.as_deref(), host).await?
    };
    // By what was sent, never by what was found: who is paced would tell whether it was.
    pace_account(platform, &format!("login|{email}"), origin).await?;
    // Where there is no tenant, one that nobody is in is asked: it takes as long.
    let asked = tenant.unwrap_or(TenantId(Uuid::nil()));
    let user = {
        let _turn = platform.signing_in.acquire().await.map_err(ServiceError::internal)?;
        users::by_email(&mut platform.db.read(asked).await?, &email).await?
    };
    let hash = user.as_ref().map(|u| u.password_hash.clone()).filter(|hash| !hash.is_empty());
    let whose = Hashing::SigningIn(origin.ip);
    let matches = platform.hasher.verify(&whose, &login.password, hash).await?;
    let (Some(tenant), Some(mut user), true) = (tenant, user, matches) else { return Err(refused()) };
    let mut tx = platform.db.read(tenant).await?;
    let tenant = tenants::own(&mut tx).await?.ok_or_else(refused)?;
    if !user.is_active || tenant.status != TenantStatus::Active {
        return Err(refused());
    }
    let factor = second_factors::of_user(&mut tx, user.id).await?.filter(|factor| factor.confirmed_at.is_some());
    drop(tx);
    if let Some(factor) = factor {
        let code = login.code.ok_or(ServiceError::SecondFactorRequired)?;
        // Only who has the password gets here, so a limit locks no owner out by a stranger's doing.
        limiter::limit(platform, SECOND_FACTOR, &user.id.to_string()).await?;
        second_factor::spend(platform, tenant.id, user.id, &factor, &code, origin).await?;
    }
    if platform.hasher.is_outdated(&user.password_hash) {
        let hash = platform.hasher.hash(&whose, &login.password).await?;
        let mut tx = platform.db.write(tenant.id).await?;
        if users::rehash(&mut tx, user.id, &user.password_hash, &hash).await? {
            user.password_hash = hash;
        }
        tx.commit().await?;
    }
    let tokens = open(platform, &user, tenant.id, origin).await?;
    user.last_login_at = Some(platform.now());
    Ok(SignedIn { tenant, user, tokens })
}

/// The tenant that credentials are for.
pub(super) async fn find_tenant(
    platform: &Platform,
    email: &str,
    slug: Option<&str>,
    host: Option<&str>,
) -> Result<Option<TenantId>> {
    let mut tx = platform.db.platform_read().await?;
    if let Some(slug) = slug {
        return Ok(tenants::id_by_slug(&mut tx, &slug.trim().to_lowercase()).await?);
    }
    let of_host = match host {
        Some(host) => tenants::id_by_domain(&mut tx, &host.to_lowercase()).await?,
        None => None,
    };
    let of_email = users::tenant_of_email(&mut tx, email, of_host).await?;
    // Where nobody has the address, the host name at least says whose sign-in it was.
    Ok(of_email.or(of_host))
}
