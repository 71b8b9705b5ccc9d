//! Who acts, in which tenant, with what authority.

use crate::{
    access::{Authority, Decision, Permission},
    audit::Origin,
    id::{TenantId, UserId},
};

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person.
    User(UserId),
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
            Self::Plugin(_) => "plugin",
            Self::System => "system",
        }
    }

    /// Who it is, as the audit log stores it.
    pub fn name(&self) -> String {
        match self {
            Self::User(id) => id.to_string(),
            Self::Plugin(name) => name.clone(),
            Self::System => "purlin".to_owned(),
        }
    }

    /// The person, where it is one.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::User(id) => Some(*id),
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
    pub authority: Authority,
    /// Whether it runs the platform: may upload plugins and see every tenant.
    pub operator: bool,
    /// Where it comes from, for the audit log.
    pub origin: Origin,
}

impl Principal {
    /// Whether it may do this.
    pub fn decide(&self, wanted: &Permission) -> Decision {
        self.authority.decide(wanted)
    }
}
