//! Access tokens: JWTs signed with RS256, modelled on RFC 9068.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use purlin_domain::{
    Json,
    id::{SessionId, TenantId, UserId},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Platform, Result, ServiceError, keys};

/// The `aud` of every token.
pub const AUDIENCE: &str = "purlin";
/// The `typ` of an access token; no other is taken for one.
const TYPE: &str = "at+jwt";
/// Seconds that clocks may differ.
const LEEWAY_S: u64 = 5;
/// Longer ones are not looked at.
const BYTES_MAX: usize = 8_192;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    tenant: Uuid,
    sid: Uuid,
    roles: Vec<String>,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The sign-in.
    pub session: SessionId,
}

/// A pair of tokens, and how long the access token lives, in seconds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tokens {
    /// Sent with every request.
    pub access_token: String,
    /// Exchanged for the next pair at `/auth/refresh`; good once.
    pub refresh_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    pub expires_in: u64,
}

/// A fresh access token. The roles are for display; authority is looked up.
pub(crate) fn issue(platform: &Platform, subject: Subject, roles: Vec<String>) -> Result<(String, u64)> {
    let now = platform.now();
    let life = platform.settings.access_token_life.as_secs();
    let claims = Claims {
        iss: platform.settings.issuer.clone(),
        aud: AUDIENCE.to_owned(),
        sub: subject.user.0,
        tenant: subject.tenant.0,
        sid: subject.session.0,
        roles,
        jti: platform.id(),
        iat: now.timestamp(),
        exp: now.timestamp().saturating_add(i64::try_from(life).map_err(ServiceError::internal)?),
    };
    let (kid, key) = platform.keys.signing(now)?;
    let mut header = Header::new(Algorithm::RS256);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(kid);
    Ok((encode(&header, &claims, &key).map_err(ServiceError::internal)?, life))
}

/// Whose token this is, if it is one of ours and still good. Only RS256 is accepted,
/// whatever the header says.
pub(crate) async fn verify(platform: &Platform, token: &str) -> Result<Subject> {
    let bad = || ServiceError::Unauthenticated("the access token is not valid; sign in again");
    if token.len() > BYTES_MAX {
        return Err(bad());
    }
    let header = decode_header(token).map_err(|_| bad())?;
    if has_extensions(token) {
        return Err(bad());
    }
    let id = header.kid.filter(|_| header.alg == Algorithm::RS256 && header.typ.as_deref() == Some(TYPE));
    let id = id.ok_or_else(bad)?;
    let key = match platform.keys.verifying(&id) {
        Some(key) => key,
        // Another host may have made it a moment ago.
        None if platform.look_again.passed(platform.now()) => {
            keys::refresh(platform).await?;
            platform.keys.verifying(&id).ok_or_else(bad)?
        }
        None => return Err(bad()),
    };
    let mut validation = Validation::new(Algorithm::RS256);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[&platform.settings.issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = decode::<Claims>(token, &key, &validation).map_err(|_| bad())?.claims;
    // The library does not look at when it was issued.
    let skew = i64::try_from(LEEWAY_S).unwrap_or_default();
    if claims.iat > platform.now().timestamp() + skew || claims.iat > claims.exp {
        return Err(bad());
    }
    Ok(Subject { tenant: TenantId(claims.tenant), user: UserId(claims.sub), session: SessionId(claims.sid) })
}

/// Whether the header names extensions that must be understood (RFC 7515, 4.1.11): we know none. The
/// library does not look.
fn has_extensions(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).ok().and_then(|json| serde_json::from_slice::<Json>(&json).ok());
    header.is_none_or(|header| header.get("crit").is_some())
}
