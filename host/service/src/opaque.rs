//! Opaque tokens: a prefix that says what it is, and bytes that name a row and prove the
//! right to it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use purlin_domain::id::{ApiKeyId, InvitationId, SessionId, TenantId};
use uuid::Uuid;

use crate::{
    Platform,
    secrets::{self, MAC_BYTES, Use},
};

const REFRESH: &str = "plr_";
const API_KEY: &str = "plk_";
const ONE_TIME: &str = "plt_";
const INVITATION: &str = "pli_";
/// Longer ones are not looked at.
const CHARACTERS_MAX: usize = 200;

/// Names a row of a tenant, and proves the right to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opaque {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
    pub(crate) secret: [u8; MAC_BYTES],
}

impl Opaque {
    fn write(&self, prefix: &str) -> String {
        let bytes = [self.tenant.0.as_bytes().as_slice(), self.id.as_bytes(), &self.secret].concat();
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn read(prefix: &str, text: &str) -> Option<Self> {
        let body = text.strip_prefix(prefix).filter(|_| text.len() <= CHARACTERS_MAX)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).ok()?;
        let (tenant, rest) = bytes.split_at_checked(16)?;
        let (id, secret) = rest.split_at_checked(16)?;
        Some(Self {
            tenant: TenantId(Uuid::from_slice(tenant).ok()?),
            id: Uuid::from_slice(id).ok()?,
            secret: secret.try_into().ok()?,
        })
    }

    /// The digest under which its secret is kept.
    pub(crate) fn digest(&self) -> String {
        secrets::digest(&self.secret)
    }
}

/// Whether a credential is an API key rather than an access token.
pub(crate) fn is_api_key(text: &str) -> bool {
    text.starts_with(API_KEY)
}

/// A new API key, and how it is written: its secret is random.
pub(crate) fn new_api_key(tenant: TenantId, id: ApiKeyId) -> (Opaque, String) {
    let key = Opaque { tenant, id: id.0, secret: rand::random() };
    let text = key.write(API_KEY);
    (key, text)
}

/// What an API key says.
pub(crate) fn read_api_key(text: &str) -> Option<Opaque> {
    Opaque::read(API_KEY, text)
}

/// What a mail to this address carries for this row. The same always gives the same token,
/// so that a mail that is sent again carries it again.
pub(crate) fn one_time_token(platform: &Platform, tenant: TenantId, id: Uuid, email: &str) -> (Opaque, String) {
    let secret = platform.secrets.mac(Use::OneTimeToken, &[tenant.0.as_bytes(), id.as_bytes(), email.as_bytes()]);
    let token = Opaque { tenant, id, secret };
    let text = token.write(ONE_TIME);
    (token, text)
}

/// What a one-time token says.
pub(crate) fn read_one_time_token(text: &str) -> Option<Opaque> {
    Opaque::read(ONE_TIME, text)
}

/// What the mail of an invitation carries; another for each time it is sent anew.
pub(crate) fn invitation_token(
    platform: &Platform,
    tenant: TenantId,
    id: InvitationId,
    sent_count: i64,
) -> (Opaque, String) {
    let parts = [tenant.0.as_bytes().as_slice(), id.0.as_bytes(), b"invitation", &sent_count.to_le_bytes()];
    let token = Opaque { tenant, id: id.0, secret: platform.secrets.mac(Use::OneTimeToken, &parts) };
    let text = token.write(INVITATION);
    (token, text)
}

/// What the token of an invitation says.
pub(crate) fn read_invitation_token(text: &str) -> Option<Opaque> {
    Opaque::read(INVITATION, text)
}

/// A refresh token: which session, how often it was refreshed, and the proof of both.
/// Nothing of it is kept, so a copy of the database holds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    pub(crate) tenant: TenantId,
    pub(crate) session: SessionId,
    pub(crate) generation: i64,
}

impl RefreshToken {
    /// The proofs that hold, the one to write first.
    fn proofs(&self, platform: &Platform) -> Vec<[u8; MAC_BYTES]> {
        let parts = [self.tenant.0.as_bytes().as_slice(), self.session.0.as_bytes(), &self.generation.to_le_bytes()];
        platform.secrets.macs(Use::RefreshToken, &parts)
    }

    pub(crate) fn write(&self, platform: &Platform) -> String {
        let bytes = [
            self.tenant.0.as_bytes().as_slice(),
            self.session.0.as_bytes(),
            &self.generation.to_le_bytes(),
            &self.proofs(platform).swap_remove(0),
        ];
        format!("{REFRESH}{}", URL_SAFE_NO_PAD.encode(bytes.concat()))
    }

    /// What a refresh token says, if it is one of ours.
    pub(crate) fn read(platform: &Platform, text: &str) -> Option<Self> {
        let body = text.strip_prefix(REFRESH).filter(|_| text.len() <= CHARACTERS_MAX)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).ok()?;
        let (tenant, rest) = bytes.split_at_checked(16)?;
        let (session, rest) = rest.split_at_checked(16)?;
        let (generation, proof) = rest.split_at_checked(8)?;
        let token = Self {
            tenant: TenantId(Uuid::from_slice(tenant).ok()?),
            session: SessionId(Uuid::from_slice(session).ok()?),
            generation: i64::from_le_bytes(generation.try_into().ok()?),
        };
        token.proofs(platform).iter().any(|good| secrets::same(good, proof)).then_some(token)
    }
}
