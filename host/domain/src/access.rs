//! Permissions, and the decision over them.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::is_label;

/// The right to do `action` to `resource`; either may be `*`. A resource is a word
/// (`jobs`) or `plugin.collection`; `inventory.*` covers every collection of a plugin. A host is
/// one below `egress`: `egress.api.example.com:fetch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
#[serde(try_from = "String", into = "String")]
pub struct Permission {
    /// What it is about.
    pub resource: String,
    /// What may be done: create, read, update, delete, or a plugin's own verb.
    pub action: String,
}

impl Permission {
    /// A permission of these two parts.
    pub fn new(resource: impl Into<String>, action: impl Into<String>) -> Self {
        Self { resource: resource.into(), action: action.into() }
    }

    /// Whether holding `self` is enough where `wanted` is asked for.
    pub fn covers(&self, wanted: &Self) -> bool {
        covers_resource(&self.resource, &wanted.resource) && (self.action == "*" || self.action == wanted.action)
    }
}

fn covers_resource(held: &str, wanted: &str) -> bool {
    if held == "*" || held == wanted {
        return true;
    }
    held.strip_suffix(".*").is_some_and(|plugin| wanted.split_once('.').is_some_and(|(of, _)| of == plugin))
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.action)
    }
}

impl FromStr for Permission {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid =
            |part: &str| !part.is_empty() && part.len() <= 120 && part.split('.').all(|w| w == "*" || is_label(w));
        match text.split_once(':') {
            Some((resource, action)) if valid(resource) && valid(action) => Ok(Self::new(resource, action)),
            _ => Err(format!("`{text}` is not a permission: write `resource:action`")),
        }
    }
}

impl TryFrom<String> for Permission {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Permission> for String {
    fn from(permission: Permission) -> Self {
        permission.to_string()
    }
}

/// The platform's own permissions, and what each allows.
pub const CORE_PERMISSIONS: &[(&str, &str, &str)] = &[
    ("*", "*", "Everything in the tenant"),
    ("*", "read", "Read everything in the tenant"),
    ("tenants", "read", "See the tenant's name, plan and settings"),
    ("tenants", "update", "Change the tenant's name and settings"),
    ("users", "read", "See the people of the tenant"),
    ("users", "create", "Add people to the tenant"),
    ("users", "update", "Change people, and give and take their roles"),
    ("users", "delete", "Delete people, and erase what is personal of them"),
    ("users", "*", "Do anything with people"),
    ("invitations", "read", "See invitations"),
    ("invitations", "create", "Invite people to the tenant"),
    ("invitations", "update", "Send an invitation again"),
    ("invitations", "delete", "Take an invitation back"),
    ("invitations", "*", "Do anything with invitations"),
    ("roles", "read", "See roles and the catalogue of permissions"),
    ("roles", "create", "Make roles"),
    ("roles", "update", "Change roles and what they permit"),
    ("roles", "delete", "Delete roles"),
    ("roles", "*", "Do anything with roles"),
    ("api-keys", "read", "See the API keys of the tenant"),
    ("api-keys", "create", "Make API keys for oneself"),
    ("api-keys", "delete", "Take API keys away"),
    ("api-keys", "*", "Do anything with API keys"),
    ("audit", "read", "Read the audit log"),
    ("events", "read", "Read published events"),
    ("events", "create", "Publish events of enabled plugins, and replay events"),
    ("jobs", "read", "See jobs and their outcomes"),
    ("jobs", "create", "Enqueue jobs of enabled plugins"),
    ("jobs", "update", "Cancel, retry, discard and pause jobs"),
    ("jobs", "*", "Do anything with jobs"),
    ("schedules", "read", "See schedules"),
    ("schedules", "update", "Pause schedules, and run them at once"),
    ("webhooks", "read", "See webhooks and what was sent to them"),
    ("webhooks", "create", "Make webhooks: send the tenant's events elsewhere"),
    ("webhooks", "update", "Change, test and enable webhooks"),
    ("webhooks", "delete", "Remove webhooks"),
    ("webhooks", "*", "Do anything with webhooks"),
    ("plugins", "read", "See the plugins on offer"),
    ("installations", "read", "See the enabled plugins and their logs"),
    ("installations", "create", "Enable plugins and grant what they ask for"),
    ("installations", "update", "Set the settings and secrets of plugins"),
    ("installations", "delete", "Disable plugins"),
];

/// Whether this is one of the platform's own permissions.
pub fn is_core(permission: &Permission) -> bool {
    CORE_PERMISSIONS
        .iter()
        .any(|(resource, action, _)| permission.resource == *resource && permission.action == *action)
}

/// Permissions held together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PermissionSet(pub Vec<Permission>);

impl PermissionSet {
    /// Every permission there is.
    pub fn all() -> Self {
        Self(vec![Permission::new("*", "*")])
    }

    /// Whether one of the permissions held covers `wanted`.
    pub fn allows(&self, wanted: &Permission) -> bool {
        self.0.iter().any(|held| held.covers(wanted))
    }
}

/// Authority is user ∩ API key ∩ plugin grant ∩ tenant plan. A part that does not take part
/// in this call (no plugin in an ordinary request, no user behind a plugin's job) is `None`.
#[derive(Clone, Debug, Default)]
pub struct Authority {
    /// What the user's roles allow.
    pub user: Option<PermissionSet>,
    /// What the API key is for.
    pub scopes: Option<PermissionSet>,
    /// What the tenant granted to the plugin.
    pub grants: Option<PermissionSet>,
    /// What the tenant's plan includes.
    pub plan: PermissionSet,
}

/// Whether whoever holds these may hand out `wanted`: nobody grants what they lack. A
/// wildcard is handed out only by who holds it as widely.
pub fn may_grant(authority: &Authority, wanted: &Permission) -> bool {
    authority.decide(wanted) == Decision::Allowed
}

/// Whether something is allowed, and if not, who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Every part allows it.
    Allowed,
    /// The user's roles, or the tenant's plan, do not include it.
    Denied,
    /// The plugin was not granted it.
    NotGranted,
}

impl Authority {
    /// Whether `wanted` is allowed by every part.
    pub fn decide(&self, wanted: &Permission) -> Decision {
        let allows = |part: &Option<PermissionSet>| part.as_ref().is_none_or(|set| set.allows(wanted));
        if !allows(&self.grants) {
            return Decision::NotGranted;
        }
        if allows(&self.user) && allows(&self.scopes) && self.plan.allows(wanted) {
            Decision::Allowed
        } else {
            Decision::Denied
        }
    }

    /// How the decision came about, one line a step.
    pub fn explain(&self, wanted: &Permission) -> Vec<String> {
        let line = |who: &str, set: &PermissionSet| match set.0.iter().find(|held| held.covers(wanted)) {
            Some(held) => format!("{who}: {held} covers {wanted}"),
            None => format!("{who}: nothing covers {wanted}"),
        };
        let mut lines = Vec::new();
        lines.extend(self.user.as_ref().map(|set| line("user", set)));
        lines.extend(self.scopes.as_ref().map(|set| line("api key", set)));
        lines.extend(self.grants.as_ref().map(|set| line("plugin grants", set)));
        lines.push(line("plan", &self.plan));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(text: &str) -> Permission {
        text.parse().unwrap()
    }

    #[test]
    fn wildcards_cover_what_they_say_and_no_more() {
        assert!(p("*:*").covers(&p("jobs:read")));
        assert!(p("inventory.*:read").covers(&p("inventory.items:read")));
        assert!(!p("inventory.*:read").covers(&p("inventory.items:update")));
        assert!(!p("inventory.*:read").covers(&p("inventory:read")));
        assert!(!p("inventory.*:read").covers(&p("inventory-two.items:read")));
        assert!(!p("jobs:read").covers(&p("*:*")));
    }

    #[test]
    fn authority_is_the_intersection_of_its_parts() {
        let set = |texts: &[&str]| PermissionSet(texts.iter().map(|t| p(t)).collect());
        let authority = Authority {
            user: Some(set(&["a.x:*", "a.y:read"])),
            scopes: None,
            grants: Some(set(&["a.x:read", "a.z:read"])),
            plan: PermissionSet::all(),
        };
        assert_eq!(authority.decide(&p("a.x:read")), Decision::Allowed);
        assert_eq!(authority.decide(&p("a.x:update")), Decision::NotGranted);
        assert_eq!(authority.decide(&p("a.z:read")), Decision::Denied);
        let narrow_key = Authority { scopes: Some(set(&["a.y:read"])), ..authority.clone() };
        assert_eq!(narrow_key.decide(&p("a.x:read")), Decision::Denied);
        let small_plan = Authority { plan: set(&["b.*:*"]), ..authority };
        assert_eq!(small_plan.decide(&p("a.x:read")), Decision::Denied);
    }
}
