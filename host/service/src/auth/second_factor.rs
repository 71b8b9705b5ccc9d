//! A second factor: time-based one-time passwords (RFC 6238), and recovery codes for the
//! day the device is lost.

use purlin_domain::{
    audit::Origin,
    id::{TenantId, UserId},
    principal::Principal,
};
use purlin_store::second_factors::{self, SecondFactor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use totp_rs::{Builder, Secret, Totp};

use super::{
    account::{Proof, prove, prove_password},
    person,
};
use crate::{
    Platform, Result, ServiceError, access,
    change::{Change, Mutation},
    secrets::{self, Use},
};

/// Bytes of a secret: as many as the hash has (RFC 4226, section 4).
const SECRET_BYTES: usize = 20;
/// Seconds of a time step.
const STEP_S: u64 = 30;
/// Steps that a clock may be off, either way.
const SKEW: u16 = 1;
const RECOVERY_CODES: usize = 10;

/// The caller's password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordOnly {
    /// The password.
    pub password: String,
}

/// A code.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeOnly {
    /// Six digits, as the device shows them.
    pub code: String,
}

/// What a device needs to show codes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Enrolment {
    /// The secret in base32, to be typed.
    pub secret: String,
    /// The same as an `otpauth:` address, to be shown as a QR code.
    pub url: String,
}

/// What signs in once each when the device is lost. Shown once.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RecoveryCodes {
    /// The codes.
    pub recovery_codes: Vec<String>,
}

pub(crate) fn context(tenant: TenantId, user: UserId) -> String {
    format!("second factor of {user} in {tenant}")
}

fn totp(secret: &[u8], issuer: &str, account: &str) -> Result<Totp> {
    // A colon would end the name in the address.
    let clean = |text: &str| text.replace(':', " ");
    Builder::new()
        .with_secret(secret.to_vec())
        .with_step_duration(STEP_S)
        .with_skew(SKEW)
        .with_account_name(clean(account))
        .with_issuer(Some(clean(issuer)))
        .build()
        .map_err(ServiceError::internal)
}

/// Begin to enrol a device. It does not count before it is confirmed.
pub async fn enrol(platform: &Platform, principal: &Principal, request: PasswordOnly) -> Result<Enrolment> {
    let user = prove_password(platform, principal, "/password", request.password).await?;
    let secret: [u8; SECRET_BYTES] = rand::random();
    let sealed = platform.secrets.seal(&context(principal.tenant, user.id), &secret)?;
    let mut change = Mutation::begin(platform, principal).await?;
    let now = change.now;
    if !second_factors::enrol(&mut change.tx, user.id, sealed, now).await? {
        let why = "this account has a second factor; disable it first".to_owned();
        return Err(ServiceError::Conflict("second_factor_enabled", why));
    }
    change.note(noted(user.id, "user.second_factor_enrolled"));
    let totp = totp(&secret, &platform.settings.issuer, &user.email)?;
    let url = totp.to_url().map_err(ServiceError::internal)?;
    change.finish(Enrolment { secret: Secret::from(secret.to_vec()).to_base32(), url }).await
}

/// Confirm the device by a code that it shows. From now on signing in takes one.
pub async fn confirm(platform: &Platform, principal: &Principal, request: &CodeOnly) -> Result<RecoveryCodes> {
    let user = access::require_person(principal)?;
    let wrong = || ServiceError::invalid("/code", "code", "this is not the code that the device shows now");
    super::pace_account(platform, &format!("code|{user}"), &principal.origin).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let factor = second_factors::of_user(&mut change.tx, user).await?.filter(|f| f.confirmed_at.is_none());
    let Some(factor) = factor else {
        let why = "there is no second factor to confirm; enrol one first".to_owned();
        return Err(ServiceError::Conflict("second_factor_missing", why));
    };
    let secret = platform.secrets.open(&context(principal.tenant, user), &factor.secret)?;
    let step = step_of(platform, &secret, &request.code)?.ok_or_else(wrong)?;
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| recovery_code()).collect();
    let hashes: Vec<String> = codes.iter().map(|code| recovery_digests(platform, user, code).swap_remove(0)).collect();
    let now = change.now;
    if !second_factors::confirm(&mut change.tx, user, &factor.secret, step, &hashes, now).await? {
        return Err(crate::change::conflict());
    }
    change.note(noted(user, "user.second_factor_enabled"));
    change.finish(RecoveryCodes { recovery_codes: codes }).await
}

/// Do without a second factor.
pub async fn disable(platform: &Platform, principal: &Principal, proof: Proof) -> Result<()> {
    let user = prove(platform, principal, "/password", proof).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    if !second_factors::delete(&mut change.tx, user.id).await? {
        return Err(ServiceError::NotFound);
    }
    change.note(noted(user.id, "user.second_factor_disabled"));
    change.finish(()).await
}

/// Use a code up in signing in: of the device, or for recovery.
pub(super) async fn spend(
    platform: &Platform,
    tenant: TenantId,
    user: UserId,
    factor: &SecondFactor,
    code: &str,
    origin: &Origin,
) -> Result<()> {
    let refused = || ServiceError::Unauthenticated("the code of the second factor is wrong");
    let secret = platform.secrets.open(&context(tenant, user), &factor.secret)?;
    let principal = person(tenant, user, origin);
    let mut change = Mutation::begin(platform, &principal).await?;
    let good = match step_of(platform, &secret, code)? {
        Some(step) => second_factors::use_step(&mut change.tx, user, step).await?,
        None => {
            let mut known = false;
            for digest in recovery_digests(platform, user, code) {
                known = known || second_factors::use_recovery_code(&mut change.tx, user, &digest).await?;
            }
            if known {
                change.note(noted(user, "user.recovery_code_used"));
            }
            known
        }
    };
    if good { change.finish(()).await } else { Err(refused()) }
}

/// The time step whose code this is.
fn step_of(platform: &Platform, secret: &[u8], code: &str) -> Result<Option<i64>> {
    let now = u64::try_from(platform.now().timestamp()).map_err(ServiceError::internal)?;
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let totp = totp(secret, "purlin", "purlin")?;
    let steps = (now / STEP_S).saturating_sub(u64::from(SKEW))..=now / STEP_S + u64::from(SKEW);
    let matching = |step: &u64| {
        let token = totp.generate(step * STEP_S).to_string();
        secrets::same(token.as_bytes(), code.as_bytes())
    };
    Ok(steps.rev().find(matching).and_then(|step| i64::try_from(step).ok()))
}

/// Ten of 32 letters and digits that are not mistaken for others: 50 bits.
fn recovery_code() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let random: [u8; 10] = rand::random();
    let letters: String =
        random.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32))).map(|b| char::from(*b)).collect();
    let (a, b) = letters.split_at(5);
    format!("{a}-{b}")
}

/// Under a key of the host: fifty bits alone could be found from a copy of the database.
/// That of the newest key comes first.
fn recovery_digests(platform: &Platform, user: UserId, code: &str) -> Vec<String> {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let macs = platform.secrets.macs(Use::OneTimeToken, &[b"recovery", user.0.as_bytes(), code.as_bytes()]);
    macs.iter().map(|mac| secrets::digest(mac)).collect()
}

fn noted(user: UserId, what: &'static str) -> Change {
    Change {
        what,
        resource_type: "user",
        id: user.to_string(),
        changes: json!({ "second_factor": { "before": "***", "after": "***" } }),
        data: Some(json!({ "id": user })),
    }
}
