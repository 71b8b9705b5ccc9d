//! Who acts, in which tenant, with what authority.

use std::sync::Arc;

use crate::{
    access::{Authority, Decision, Permission, PermissionSet},
    audit::Origin,
    id::{ApiKeyId, SessionId, TenantId, UserId},
};

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person.
    User(UserId),
    /// A person's API key.
    ApiKey(ApiKeyId, UserId),
    /// A plugin's own service principal in the tenant.
    Plugin(String),
    /// The platform itself.
    System,
}

impl Actor {
    /// The kind of actor, as the audit log stores it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::ApiKey(..) => "api_key",
            Self::Plugin(_) => "plugin",
            Self::System => "system",
        }
    }

    /// Who it is, as the audit log stores it.
    pub fn name(&self) -> String {
        match self {
            Self::User(id) => id.to_string(),
            Self::ApiKey(id, _) => id.to_string(),
            Self::Plugin(name) => name.clone(),
            Self::System => "purlin".to_owned(),
        }
    }

    /// The person, where it is one or acts by a key of theirs.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::User(id) | Self::ApiKey(_, id) => Some(*id),
            Self::Plugin(_) | Self::System => None,
        }
    }
}

/// An actor within its tenant and its authority. Everything the platform does for
/// somebody takes one.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The tenant it acts in.
    pub tenant: TenantId,
    /// Who acts.
    pub actor: Actor,
    /// The person behind it: the actor, or who caused the plugin to act.
    pub on_behalf_of: Option<UserId>,
    /// What it may do.
    pub authority: Arc<Authority>,
    /// The sign-in it acts under, where it is one.
    pub session: Option<SessionId>,
    /// Whether it runs the platform: may upload plugins and see every tenant.
    pub operator: bool,
    /// Where it comes from, for the audit log.
    pub origin: Origin,
    /// What makes a repetition of this request have no second effect.
    pub idempotency: Option<Idempotency>,
}

/// An `Idempotency-Key`, and what it was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key, as the caller chose it.
    pub key: String,
    /// A digest of method, path and body.
    pub request_hash: String,
    /// The status that the operation answers when it did what was asked.
    pub status: u16,
}

impl Principal {
    /// The platform itself, acting in a tenant.
    pub fn system(tenant: TenantId, origin: Origin) -> Self {
        Self {
            tenant,
            actor: Actor::System,
            on_behalf_of: None,
            authority: Arc::new(Authority { plan: PermissionSet::all(), ..Authority::default() }),
            session: None,
            operator: false,
            origin,
            idempotency: None,
        }
    }

    /// Whether it may do this.
    pub fn decide(&self, wanted: &Permission) -> Decision {
        self.authority.decide(wanted)
    }
}
