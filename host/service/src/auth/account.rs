//! The account: proving its address, changing and resetting its password.

use std::time::Duration;

use purlin_domain::{Timestamp, audit::Origin, error::Violation, principal::Principal, tenant::TenantStatus};
use purlin_store::{TenantTx, api_keys, one_time_tokens, second_factors, sessions, tenants, users, users::User};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    limit_address,
    login::{SECOND_FACTOR, find_tenant},
    normalise, pace_account, password_violation, second_factor,
};
use crate::{
    Platform, Result, ServiceError, access,
    change::{Change, Mutation},
    limiter::{self, Rate},
    native, opaque,
    password::Hashing,
};

/// The purpose of a token that proves an address.
pub(crate) const VERIFY: &str = "verify_email";
/// The purpose of a token that gives leave to set a new password.
pub(crate) const RESET: &str = "reset_password";
/// Every answer about a forgotten password takes this long, known address or not.
const FORGOT_TAKES: Duration = Duration::from_millis(300);

/// Mails that a stranger can have sent to one account: more are not sent, and nobody is told.
const MAILS_TO_ONE: Rate = Rate { name: "mails-to", burst: 5, interval: Duration::from_secs(300) };

/// What a mail carried.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenOnly {
    /// The token.
    pub token: String,
}

/// An address, and where it is known.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailOnly {
    /// The address.
    pub email: String,
    /// The tenant's slug; found as in signing in when missing.
    pub tenant: Option<String>,
}

/// A new password, by leave of a mail.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// The token.
    pub token: String,
    /// The new password, at least 12 characters.
    pub password: String,
}

/// What proves that a caller is who signed in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The password.
    pub password: String,
    /// A code of the second factor, or a recovery code, where the account has one.
    pub code: Option<String>,
}

/// A new password for the old one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password as it is.
    pub current_password: String,
    /// A code of the second factor, or a recovery code, where the account has one.
    pub code: Option<String>,
    /// The new one, at least 12 characters.
    pub new_password: String,
}

fn bad_token() -> ServiceError {
    ServiceError::invalid("/token", "token", "this token is not valid; it may have been used or be too old")
}

/// Refuse what a mail carried for a tenant that is not served.
async fn require_active(change: &mut Mutation<'_>) -> Result<()> {
    let tenant = tenants::own(&mut change.tx).await?.ok_or_else(bad_token)?;
    if tenant.status == TenantStatus::Active { Ok(()) } else { Err(bad_token()) }
}

/// Take the address of an account for proven.
pub async fn verify_email(platform: &Platform, token: &str, origin: &Origin) -> Result<()> {
    limit_address(platform, origin).await?;
    let token = opaque::read_one_time_token(token).ok_or_else(bad_token)?;
    let system = Principal::system(token.tenant, origin.clone());
    let mut change = Mutation::begin(platform, &system).await?;
    let now = change.now;
    require_active(&mut change).await?;
    let user = one_time_tokens::take(&mut change.tx, token.id, VERIFY, &token.digest(), now).await?;
    let before = users::by_id(&mut change.tx, user.ok_or_else(bad_token)?).await?.ok_or_else(bad_token)?;
    set_verified(&mut change, &before).await?;
    change.finish(()).await
}

async fn set_verified(change: &mut Mutation<'_>, before: &User) -> Result<()> {
    if before.is_verified {
        return Ok(());
    }
    let after = User { is_verified: true, updated_at: change.after(before.updated_at), ..before.clone() };
    if !users::update(&mut change.tx, &after, before.updated_at, Some(before.id)).await? {
        return Err(crate::change::conflict());
    }
    change.note(Change {
        what: "user.updated",
        resource_type: "user",
        id: after.id.to_string(),
        changes: json!({ "is_verified": { "before": false, "after": true } }),
        data: Some(json!({ "id": after.id, "is_verified": true })),
    });
    Ok(())
}

/// Send the caller a mail that proves the address, unless it is proven.
pub async fn resend_verification(platform: &Platform, principal: &Principal) -> Result<()> {
    let id = access::require_person(principal)?;
    pace_account(platform, &format!("verify|{id}"), &principal.origin).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let user = users::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    if !user.is_verified && limiter::limit(platform, MAILS_TO_ONE, &id.to_string()).await.is_ok() {
        let job = native::mail_job(platform, native::VERIFICATION, id.0, change.now);
        change.enqueue(job);
        change.note(asked_for(id, "user.verification_requested"));
    }
    change.finish(()).await
}

/// Send a mail that gives leave to set a new password, if the address is known. The answer
/// is the same, and takes as long, if it is not.
pub async fn forgot_password(
    platform: &Platform,
    request: &EmailOnly,
    host: Option<&str>,
    origin: &Origin,
) -> Result<()> {
    limit_address(platform, origin).await?;
    let email = normalise(&request.email);
    pace_account(platform, &format!("forgot|{email}"), origin).await?;
    let until = Instant::now() + FORGOT_TAKES;
    if let Err(error) = send_reset(platform, request, &email, host, origin).await {
        // Told to nobody: an error would tell that the address is known.
        tracing::warn!(%error, "a mail that sets a password could not be queued");
    }
    sleep_until(until).await;
    Ok(())
}

async fn send_reset(
    platform: &Platform,
    request: &EmailOnly,
    email: &str,
    host: Option<&str>,
    origin: &Origin,
) -> Result<()> {
    let Some(tenant) = find_tenant(platform, email, request.tenant.as_deref(), host).await? else { return Ok(()) };
    let Some(user) = users::by_email(&mut platform.db.read(tenant).await?, email).await? else { return Ok(()) };
    if !user.is_active || limiter::limit(platform, MAILS_TO_ONE, &user.id.to_string()).await.is_err() {
        return Ok(());
    }
    let system = Principal::system(tenant, origin.clone());
    let mut change = Mutation::begin(platform, &system).await?;
    let job = native::mail_job(platform, native::PASSWORD_RESET, user.id.0, change.now);
    change.enqueue(job);
    change.note(asked_for(user.id, "user.reset_requested"));
    change.finish(()).await
}

/// A mail that somebody asked for.
fn asked_for(user: purlin_domain::id::UserId, what: &'static str) -> Change {
    Change { what, resource_type: "user", id: user.to_string(), changes: json!({}), data: None }
}

/// Set a new password by leave of a mail. Every session and key of the account ends, and
/// the address is proven by it.
pub async fn reset_password(platform: &Platform, request: ResetPassword, origin: &Origin) -> Result<()> {
    limit_address(platform, origin).await?;
    if let Some(wrong) = password_violation("/password", &request.password) {
        return Err(ServiceError::Invalid(vec![wrong]));
    }
    let token = opaque::read_one_time_token(&request.token).ok_or_else(bad_token)?;
    // A hash is dear, so a token that is not good is refused before one is made.
    let mut tx = platform.db.read(token.tenant).await?;
    if !one_time_tokens::is_good(&mut tx, token.id, RESET, &token.digest(), platform.now()).await? {
        return Err(bad_token());
    }
    drop(tx);
    let hash = platform.hasher.hash(&Hashing::SigningIn(origin.ip), &request.password).await?;
    let system = Principal::system(token.tenant, origin.clone());
    let mut change = Mutation::begin(platform, &system).await?;
    let now = change.now;
    require_active(&mut change).await?;
    let user = one_time_tokens::take(&mut change.tx, token.id, RESET, &token.digest(), now).await?;
    let user = users::by_id(&mut change.tx, user.ok_or_else(bad_token)?).await?.ok_or_else(bad_token)?;
    set_verified(&mut change, &user).await?;
    let at = change.after(user.updated_at);
    users::set_password_hash(&mut change.tx, user.id, &hash, at).await?;
    sessions::revoke_others(&mut change.tx, user.id, None, now).await?;
    api_keys::delete_of_user(&mut change.tx, user.id).await?;
    change.note(password_changed(&user, "user.password_reset"));
    change.finish(()).await
}

/// Set a new password for the old one. Every other session of the account ends.
pub async fn change_password(platform: &Platform, principal: &Principal, request: ChangePassword) -> Result<()> {
    let id = access::require_person(principal)?;
    let wrong: Vec<Violation> = password_violation("/new_password", &request.new_password).into_iter().collect();
    if !wrong.is_empty() {
        return Err(ServiceError::Invalid(wrong));
    }
    let proof = Proof { password: request.current_password, code: request.code };
    prove(platform, principal, "/current_password", proof).await?;
    let hash = platform.hasher.hash(&Hashing::of(principal), &request.new_password).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let user = users::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    let (now, at) = (change.now, change.after(user.updated_at));
    users::set_password_hash(&mut change.tx, id, &hash, at).await?;
    sessions::revoke_others(&mut change.tx, id, principal.session, now).await?;
    one_time_tokens::delete_of_user(&mut change.tx, id).await?;
    change.note(password_changed(&user, "user.password_changed"));
    change.finish(()).await
}

/// How long a proof is good for.
const PROOF_LIFE: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

/// Prove to be who signed in: for five minutes this session may change what takes an account over.
pub async fn reauthenticate(platform: &Platform, principal: &Principal, proof: Proof) -> Result<()> {
    let session = principal.session.ok_or(NO_PERSON)?;
    prove(platform, principal, "/password", proof).await?;
    let mut tx = platform.db.write(principal.tenant).await?;
    sessions::set_proven(&mut tx, session, platform.now()).await?;
    Ok(tx.commit().await?)
}

/// Refuse a change that takes an account over to a caller who has not given the password, and a code
/// where the account has a second factor, within five minutes; to an API key always.
pub(crate) async fn require_proof(tx: &mut TenantTx, principal: &Principal, now: Timestamp) -> Result<()> {
    access::require_person(principal)?;
    let session = principal.session.ok_or(NO_PERSON)?;
    let proven = sessions::proven_at(tx, session).await?;
    if proven.is_some_and(|at| now - at <= PROOF_LIFE) {
        return Ok(());
    }
    Err(ServiceError::Closed(
        "reauthentication_required",
        "give your password first: POST /api/v1/auth/reauthenticate is good for five minutes",
    ))
}

const NO_PERSON: ServiceError = ServiceError::Closed("sign_in_required", "sign in to do this");

/// Refuse unless this is the caller's password, with a code where the account has a second factor.
pub(super) async fn prove(platform: &Platform, principal: &Principal, pointer: &str, proof: Proof) -> Result<User> {
    let user = prove_password(platform, principal, pointer, proof.password).await?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let factor = second_factors::of_user(&mut tx, user.id).await?.filter(|factor| factor.confirmed_at.is_some());
    drop(tx);
    if let Some(factor) = factor {
        let code = proof.code.ok_or_else(|| {
            ServiceError::invalid("/code", "required", "give a code of the second factor, or a recovery code")
        })?;
        limiter::limit(platform, SECOND_FACTOR, &user.id.to_string()).await?;
        second_factor::spend(platform, principal.tenant, user.id, &factor, &code, &principal.origin).await.map_err(
            |error| match error {
                ServiceError::Unauthenticated(why) => ServiceError::invalid("/code", "code", why),
                other => other,
            },
        )?;
    }
    Ok(user)
}

/// Refuse unless this is the caller's password.
pub(super) async fn prove_password(
    platform: &Platform,
    principal: &Principal,
    pointer: &str,
    password: String,
) -> Result<User> {
    let id = access::require_person(principal)?;
    pace_account(platform, &format!("prove|{id}"), &principal.origin).await?;
    let user = users::by_id(&mut platform.db.read(principal.tenant).await?, id).await?.ok_or(ServiceError::NotFound)?;
    let hash = Some(user.password_hash.clone()).filter(|hash| !hash.is_empty());
    if platform.hasher.verify(&Hashing::of(principal), &password, hash).await? {
        Ok(user)
    } else {
        Err(ServiceError::invalid(pointer, "password", "this is not your password"))
    }
}

fn password_changed(user: &User, what: &'static str) -> Change {
    Change {
        what,
        resource_type: "user",
        id: user.id.to_string(),
        changes: json!({ "password": { "before": "***", "after": "***" } }),
        data: Some(json!({ "id": user.id })),
    }
}
