//! Registering a tenant, signing in and out, and everything about the account itself.

mod account;
mod login;
mod register;
mod second_factor;
mod session;

use std::time::Duration;

use purlin_domain::{
    audit::Origin,
    error::Violation,
    id::{TenantId, UserId},
    principal::{Actor, Principal},
    text,
};
use purlin_store::{tenants::Tenant, users::User};
use schemars::JsonSchema;
use serde::Serialize;

pub use account::{
    ChangePassword, EmailOnly, Proof, ResetPassword, TokenOnly, change_password, forgot_password, reauthenticate,
    resend_verification, reset_password, verify_email,
};
pub(crate) use account::{RESET, VERIFY, require_proof};
pub use login::{Login, login};
pub(crate) use register::{FirstAdmin, provision};
pub use register::{NewTenant, Registration, register};
pub(crate) use second_factor::context as second_factor_context;
pub use second_factor::{CodeOnly, Enrolment, PasswordOnly, RecoveryCodes, confirm, disable, enrol};
pub(crate) use session::open;
pub use session::{RefreshOnly, list_sessions, logout, refresh, revoke_session};

use crate::{
    Platform, Result,
    limiter::{self, Rate},
    password,
    tokens::Tokens,
};

/// Who signed in, and with what.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SignedIn {
    /// The tenant.
    pub tenant: Tenant,
    /// The user.
    pub user: User,
    /// The tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
}

/// An address in the one form by which accounts are told apart; what is no address stays itself,
/// and is nobody's.
pub(crate) fn normalise(email: &str) -> String {
    text::email(email).unwrap_or_else(|| email.trim().to_lowercase())
}

pub(crate) fn email_violation(pointer: &str, email: &str) -> Option<Violation> {
    let why = "expected a plain e-mail address, such as name@example.com";
    text::email(email).is_none().then(|| Violation::new(pointer, "format", why))
}

pub(crate) fn password_violation(pointer: &str, password: &str) -> Option<Violation> {
    let valid = password.chars().count() >= password::CHARACTERS_MIN && password.len() <= password::BYTES_MAX;
    (!valid).then(|| {
        Violation::new(
            pointer,
            "length",
            format!("use at least {} characters, at most {} bytes", password::CHARACTERS_MIN, password::BYTES_MAX),
        )
    })
}

/// A person's name, which mails repeat.
pub(crate) fn name_violation(pointer: &str, name: Option<&str>) -> Option<Violation> {
    let valid = name.is_none_or(|n| n.chars().count() <= 100 && text::is_plain_name(n));
    (!valid).then(|| Violation::new(pointer, "format", PLAIN_NAME))
}

/// The name of a tenant, which mails repeat.
pub(crate) fn title_violation(pointer: &str, name: &str) -> Option<Violation> {
    if !(1..=100).contains(&name.chars().count()) {
        return Some(Violation::new(pointer, "length", "give a name of 1 to 100 characters"));
    }
    (!text::is_plain_name(name)).then(|| Violation::new(pointer, "format", PLAIN_NAME))
}

const PLAIN_NAME: &str = "use at most 100 characters, without control characters and web addresses";

/// A person who acts without a token: registering, signing in, accepting an invitation.
pub(crate) fn person(tenant: TenantId, user: UserId, origin: &Origin) -> Principal {
    Principal { actor: Actor::User(user), on_behalf_of: Some(user), ..Principal::system(tenant, origin.clone()) }
}

/// Refuse an address that asks too often for things that need no token.
pub(crate) async fn limit_address(platform: &Platform, origin: &Origin) -> Result<()> {
    let who = origin.ip.map_or_else(|| "unknown".to_owned(), network);
    let most = platform.settings.auth_requests_per_minute;
    limiter::limit(platform, Rate::per_minute("auth", most), &who).await?;
    match origin.ip.and_then(site) {
        Some(site) => limiter::limit(platform, Rate::per_minute("auth-site", most.saturating_mul(4)), &site).await,
        None => Ok(()),
    }
}

/// The /56 of an IPv6 address: 256 of a /64, and what many providers give to one customer.
fn site(ip: std::net::IpAddr) -> Option<String> {
    match ip {
        std::net::IpAddr::V6(ip) if ip.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = ip.segments();
            Some(format!("{a:x}:{b:x}:{c:x}:{:x}::/56", d & 0xff00))
        }
        _ => None,
    }
}

/// An IPv4 address by itself; an IPv6 address by its /64, which one host may have all of.
pub(crate) fn network(ip: std::net::IpAddr) -> String {
    match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.to_string(),
            None => {
                let [a, b, c, d, ..] = ip.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        },
    }
}

/// Slow down who tries an account again and again: a stranger by seconds, the account as a
/// whole by a quarter of that, so that its owner still gets in.
pub(crate) async fn pace_account(platform: &Platform, account: &str, origin: &Origin) -> Result<()> {
    let from = origin.ip.map_or_else(String::new, network);
    let stranger = Rate { name: "account-from", burst: 5, interval: Duration::from_secs(20) };
    let whole = Rate { name: "account", burst: 30, interval: Duration::from_secs(2) };
    let key = blake3::hash(account.as_bytes()).to_hex();
    limiter::pace(platform, stranger, &format!("{key}:{from}"), platform.settings.auth_slowdown).await?;
    limiter::pace(platform, whole, &key, platform.settings.auth_slowdown / 4).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_count_together() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        let site = |text: &str| site(text.parse().unwrap());
        assert_eq!(site("2001:db8:1:2::1"), site("2001:db8:1:ff::1"));
        assert_ne!(site("2001:db8:1:2::1"), site("2001:db8:1:102::1"));
        assert_eq!([site("192.0.2.1"), site("::ffff:192.0.2.1")], [None, None]);
    }
}
