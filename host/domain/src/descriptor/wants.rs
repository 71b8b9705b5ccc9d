//! What a plugin wants from whoever enables it, and to be asked of: settings, secrets, hosts,
//! checks of writes, steps in its life.

use serde::{Deserialize, Serialize};

use super::{Descriptor, is_reserved};
use crate::{
    access::{Permission, is_core},
    error::Violation,
    guest::Verb,
    name::{is_dotted, is_host, is_slug, is_word},
};

/// A secret a plugin reads, such as a key of another service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// Its name within the plugin.
    pub name: String,
    /// What it is for, for whoever sets it.
    #[serde(default)]
    pub description: String,
}

/// A collection whose writes a plugin checks before they are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// One of its own by its name, another's as `plugin.collection`.
    pub collection: String,
    /// Which writes.
    #[serde(default = "Verb::all")]
    pub verbs: Vec<Verb>,
}

/// A step in its life that a plugin is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// It was enabled.
    Enabled,
    /// It runs another version.
    Upgraded,
    /// Its settings or secrets changed.
    Configured,
}

/// What may be done with a host: requests may be sent to it.
pub const FETCH: &str = "fetch";
/// What may be done with another plugin's collection: its writes may be checked.
pub const CHECK: &str = "check";
/// The place of a plugin's files among its resources.
pub const FILES: &str = "files";

/// Whether a permission is of a plugin, or may be: this host need not know it.
fn is_of_plugin(wanted: &Permission) -> bool {
    let (plugin, rest) = wanted.resource.split_once('.').unwrap_or_default();
    is_slug(plugin) && !is_reserved(plugin) && (rest == "*" || rest.split('.').all(is_word)) && wanted.action != CHECK
}

/// The permission to send requests to this host.
pub fn egress(host: &str) -> Permission {
    Permission::new(format!("egress.{host}"), FETCH)
}

impl Descriptor {
    /// What is wrong with what it wants.
    pub(super) fn wants_violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut check = |holds: bool, pointer: String, detail: String| {
            if !holds {
                found.push(Violation::new(pointer, "descriptor", detail));
            }
        };
        let is_object = |schema: &crate::Json| schema.get("properties").is_some_and(crate::Json::is_object);
        check(
            self.settings.as_ref().is_none_or(is_object),
            "/settings".to_owned(),
            "an object schema with `properties` is needed".to_owned(),
        );
        for (i, wanted) in self.requests.iter().enumerate() {
            check(
                is_core(wanted) && wanted.resource != "*" || is_of_plugin(wanted),
                format!("/requests/{i}"),
                format!(
                    "`{wanted}` is neither a permission of the platform, such as `users:read`, nor of the form `plugin.collection:action`"
                ),
            );
        }
        for (i, secret) in self.secrets.iter().enumerate() {
            check(
                is_word(&secret.name) && secret.description.len() <= 200,
                format!("/secrets/{i}"),
                "a secret has a name of lower-case letters, digits, `_`, `-`, and a description of at most 200 bytes"
                    .to_owned(),
            );
        }
        for (i, host) in self.egress.iter().enumerate() {
            check(
                is_host(host),
                format!("/egress/{i}"),
                format!(
                    "`{host}` is not the name of a host: write `api.example.com`, or `*.example.com` for every host in a domain"
                ),
            );
        }
        for (i, wanted) in self.checks.iter().enumerate() {
            let name = &wanted.collection;
            let is_known = self.collection(name).is_some();
            let is_others = is_dotted(name) && name.split_once('.').is_some_and(|(plugin, _)| plugin != self.name);
            check(
                is_known || is_others,
                format!("/checks/{i}/collection"),
                format!("`{name}` is neither a collection of this plugin nor of the form `plugin.collection`"),
            );
            check(!wanted.verbs.is_empty(), format!("/checks/{i}/verbs"), "name at least one verb".to_owned());
        }
        check(
            !self.files || self.collection(FILES).is_none(),
            "/files".to_owned(),
            "a plugin that keeps files cannot have a collection of that name".to_owned(),
        );
        found
    }

    /// The permissions of what it wants beyond data.
    pub(super) fn wants(&self) -> Vec<Permission> {
        let hosts = self.egress.iter().map(|host| egress(host));
        let others = self.checks.iter().filter(|check| check.collection.contains('.'));
        hosts.chain(others.map(|check| Permission::new(&check.collection, CHECK))).collect()
    }

    /// Whether it checks these writes to a collection of the plugin of that name.
    pub fn checks(&self, plugin: &str, collection: &str, verb: Verb) -> bool {
        let is_meant = |check: &Check| match check.collection.split_once('.') {
            Some(named) => named == (plugin, collection),
            None => self.name == plugin && check.collection == collection,
        };
        self.checks.iter().any(|check| is_meant(check) && check.verbs.contains(&verb))
    }

    /// Whether it wants to be told of such a step.
    pub fn is_told_of(&self, step: StepKind) -> bool {
        self.lifecycle.contains(&step)
    }

    /// The settings with the defaults of the schema's properties where nothing is set.
    pub fn with_defaults(&self, settings: &crate::Json) -> crate::Json {
        let mut all = settings.as_object().cloned().unwrap_or_default();
        let properties = self.settings.as_ref().and_then(|schema| schema.get("properties")?.as_object());
        for (name, property) in properties.into_iter().flatten() {
            if let (Some(default), false) = (property.get("default"), all.contains_key(name)) {
                all.insert(name.clone(), default.clone());
            }
        }
        all.into()
    }
}
