//! Access tokens: JWTs signed with RS256, in the profile of RFC 9068.

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use purlin_domain::id::{TenantId, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Platform, Result, ServiceError};

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
}

/// A token and how long it lives, in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct AccessToken {
    /// The token.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds until it expires.
    pub expires_in: u64,
}

/// A fresh token. The roles are for display; authority is looked up on every request.
pub fn issue(platform: &Platform, subject: Subject, roles: Vec<String>) -> Result<AccessToken> {
    let now = platform.now().timestamp();
    let life = platform.settings.access_token_life.as_secs();
    let claims = Claims {
        iss: platform.settings.issuer.clone(),
        aud: AUDIENCE.to_owned(),
        sub: subject.user.0,
        tenant: subject.tenant.0,
        roles,
        jti: platform.id(),
        iat: now,
        exp: now.saturating_add(i64::try_from(life).map_err(ServiceError::internal)?),
    };
    let mut header = Header::new(Algorithm::RS256);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(platform.keys.id.clone());
    let access_token = encode(&header, &claims, &platform.keys.encoding).map_err(ServiceError::internal)?;
    Ok(AccessToken { access_token, token_type: "Bearer", expires_in: life })
}

/// Whose token this is, if it is one of ours and still good. Only RS256 is accepted,
/// whatever the header says.
pub fn verify(platform: &Platform, token: &str) -> Result<Subject> {
    let bad = ServiceError::Unauthenticated("the access token is not valid; sign in again");
    if token.len() > BYTES_MAX {
        return Err(bad);
    }
    let Ok(header) = decode_header(token) else { return Err(bad) };
    if header.alg != Algorithm::RS256
        || header.typ.as_deref() != Some(TYPE)
        || header.kid.as_ref() != Some(&platform.keys.id)
    {
        return Err(bad);
    }
    let mut validation = Validation::new(Algorithm::RS256);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[&platform.settings.issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    match decode::<Claims>(token, &platform.keys.decoding, &validation) {
        Ok(token) => Ok(Subject { tenant: TenantId(token.claims.tenant), user: UserId(token.claims.sub) }),
        Err(_) => Err(bad),
    }
}
