//! What a plugin says of itself: the JSON document its `describe` returns.

mod collection;
mod evolution;
mod personal;
mod reference;
mod route;
mod wants;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use collection::{BASE_FIELDS, COLLECTION_ACTIONS, Collection};
pub use personal::{MASKED, PersonalData};
pub use reference::{OnDelete, Reference};
pub use route::{OwnPermission, Route, is_of_proxies};
pub use wants::{CHECK, Check, FETCH, FILES, Secret, StepKind, egress};

use crate::{
    Json,
    access::{CORE_PERMISSIONS, Permission},
    core_event::{CoreEvent, TYPES},
    error::Violation,
    job::{ATTEMPTS_DEFAULT, Queue},
    name::{is_dotted, is_slug},
    pattern::Pattern,
};

/// A plugin's descriptor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// Its name: a slug, unique on the platform, and its name space.
    pub name: String,
    /// Its version, by Semantic Versioning.
    pub version: semver::Version,
    /// Its name for people.
    pub title: String,
    /// What it does, in a sentence or two.
    #[serde(default)]
    pub description: String,
    /// Its data.
    #[serde(default)]
    pub collections: Vec<Collection>,
    /// The events it handles.
    #[serde(default)]
    pub subscriptions: Vec<Subscription>,
    /// The events it publishes, beside those the host publishes for its collections.
    #[serde(default)]
    pub events: Vec<EventType>,
    /// The jobs it runs.
    #[serde(default)]
    pub jobs: Vec<JobKind>,
    /// The permissions it defines, beside those of its collections.
    #[serde(default)]
    pub permissions: Vec<OwnPermission>,
    /// The HTTP routes it answers, below `/api/v1/apps/{plugin}/-`.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// What it wants beyond its own collections, for example `users:read` or `crm.contacts:read`.
    #[serde(default)]
    pub requests: Vec<Permission>,
    /// The JSON Schema (2020-12) of its settings; an object with `properties`.
    #[serde(default)]
    pub settings: Option<Json>,
    /// The secrets it reads.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// The hosts it sends requests to: `api.example.com`, or `*.example.com`.
    #[serde(default)]
    pub egress: Vec<String>,
    /// The collections whose writes it checks.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// The steps in its life that it is told of.
    #[serde(default)]
    pub lifecycle: Vec<StepKind>,
    /// Whether it keeps files.
    #[serde(default)]
    pub files: bool,
}

/// Events a plugin handles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Which.
    pub pattern: Pattern,
    /// Whether those with the same subject are handled one after the other, in the order in
    /// which they were published.
    #[serde(default)]
    pub ordered: bool,
    /// What becomes of those behind one that is a dead letter, where they are ordered.
    #[serde(default)]
    pub on_dead: OnDead,
}

/// What becomes of those behind a dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDead {
    /// They go on without it.
    #[default]
    Continue,
    /// They wait until somebody retries it, or discards it.
    Block,
}

/// An event a plugin publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventType {
    /// Its type, in the plugin's name space: `inventory.stock.low`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The JSON Schema of its data; none takes anything.
    #[serde(default)]
    pub schema: Option<Json>,
}

/// A kind of job a plugin runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobKind {
    /// Its kind, in the plugin's name space: `inventory.suggest-reorder`.
    pub kind: String,
    /// The JSON Schema of its payload; none takes anything.
    #[serde(default)]
    pub schema: Option<Json>,
    /// How often it is tried before it is a dead letter, 1 to 100.
    #[serde(default = "attempts_default")]
    pub attempts: u32,
    /// Wall-clock time of one run, 1 ms to 15 min.
    #[serde(default = "timeout_default")]
    pub timeout_ms: u64,
    /// Its share of the workers.
    #[serde(default)]
    pub queue: Queue,
    /// When it is enqueued by itself, with an empty payload.
    #[serde(default)]
    pub schedule: Option<Cron>,
}

/// When a job is enqueued by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cron {
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// Their time zone, by its IANA name.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// What happens when no host was there to enqueue it.
    #[serde(default)]
    pub missed: Missed,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What happens when no host was there to enqueue a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// It is enqueued once, as soon as one is there, however often it was missed.
    #[default]
    Once,
    /// It is left out.
    Skip,
}

impl Missed {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Skip => "skip",
        }
    }
}

fn attempts_default() -> u32 {
    ATTEMPTS_DEFAULT
}

fn timeout_default() -> u64 {
    60_000
}

impl JobKind {
    fn violations(&self, at: &str, own: &str) -> Vec<Violation> {
        let checks = [
            (
                is_dotted(&self.kind) && self.kind.starts_with(own),
                "kind",
                format!("`{}` does not lie in the name space `{own}`", self.kind),
            ),
            ((1..=100).contains(&self.attempts), "attempts", "1 to 100".to_owned()),
            ((1..=TIMEOUT_MS_MAX).contains(&self.timeout_ms), "timeout_ms", format!("1 to {TIMEOUT_MS_MAX}")),
        ];
        let wrong = checks.into_iter().filter(|(holds, ..)| !holds);
        wrong.map(|(_, name, detail)| Violation::new(format!("{at}/{name}"), "descriptor", detail)).collect()
    }
}

const TIMEOUT_MS_MAX: u64 = 15 * 60 * 1_000;
const LIST_MAX: usize = 100;

impl Descriptor {
    /// Everything that is wrong with it; the JSON Schemas themselves are checked by who compiles them.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut check = |holds: bool, pointer: String, detail: String| {
            if !holds {
                found.push(Violation::new(pointer, "descriptor", detail));
            }
        };
        let own = format!("{}.", self.name);
        check(
            is_slug(&self.name) && !is_reserved(&self.name),
            "/name".into(),
            format!(
                "`{}` cannot be a plugin's name: use 2 to 40 lower-case letters, digits and hyphens, and no name that the platform's own events or permissions begin with",
                self.name
            ),
        );
        check(
            (1..=200).contains(&self.title.chars().count()),
            "/title".into(),
            "give a title of 1 to 200 characters".into(),
        );
        check(self.description.len() <= 2_000, "/description".into(), "at most 2,000 bytes".into());
        for (list, length) in [
            ("collections", self.collections.len()),
            ("subscriptions", self.subscriptions.len()),
            ("events", self.events.len()),
            ("jobs", self.jobs.len()),
            ("permissions", self.permissions.len()),
            ("routes", self.routes.len()),
            ("requests", self.requests.len()),
            ("secrets", self.secrets.len()),
            ("egress", self.egress.len()),
            ("checks", self.checks.len()),
        ] {
            check(length <= LIST_MAX, format!("/{list}"), format!("at most {LIST_MAX}"));
        }
        for (i, event) in self.events.iter().enumerate() {
            let at = format!("/events/{i}/type");
            check(
                is_dotted(&event.event_type) && event.event_type.starts_with(&own),
                at.clone(),
                format!("`{}` does not lie in the name space `{own}`", event.event_type),
            );
            let of_collection =
                self.collections.iter().any(|c| event.event_type.starts_with(&format!("{own}{}.", c.name)));
            check(
                !of_collection,
                at,
                format!("the host itself publishes the events of a collection; rename `{}`", event.event_type),
            );
        }
        for (pointer, name) in self.repeated() {
            check(false, pointer, format!("`{name}` is there twice"));
        }
        for (i, job) in self.jobs.iter().enumerate() {
            found.extend(job.violations(&format!("/jobs/{i}"), &own));
        }
        for (i, collection) in self.collections.iter().enumerate() {
            found.extend(collection.violations(&format!("/collections/{i}"), self));
        }
        for (i, permission) in self.permissions.iter().enumerate() {
            found.extend(permission.violations(&format!("/permissions/{i}"), self));
        }
        for (i, route) in self.routes.iter().enumerate() {
            found.extend(route.violations(&format!("/routes/{i}"), self));
        }
        found.extend(self.wants_violations());
        found
    }

    fn repeated(&self) -> Vec<(String, String)> {
        let mut seen = BTreeMap::new();
        let names = (self.collections.iter().map(|c| ("/collections", c.name.clone())))
            .chain(self.events.iter().map(|e| ("/events", e.event_type.clone())))
            .chain(self.jobs.iter().map(|j| ("/jobs", j.kind.clone())))
            .chain(self.permissions.iter().map(|p| ("/permissions", p.permission.to_string())))
            .chain(self.secrets.iter().map(|s| ("/secrets", s.name.clone())))
            .chain(self.egress.iter().map(|host| ("/egress", host.clone())))
            .chain(self.routes.iter().map(|r| ("/routes", format!("{} {}", r.method, r.path))));
        names
            .filter_map(|key| {
                let count = seen.entry(key.clone()).or_insert(0);
                *count += 1;
                (*count == 2).then(|| (key.0.to_owned(), key.1))
            })
            .collect()
    }

    /// Whether a permission is this plugin's own: of a collection, or one it defines.
    fn defines(&self, wanted: &Permission) -> bool {
        let collection = wanted.resource.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('.'));
        let of_collection = collection.and_then(|name| self.collection(name)).is_some();
        of_collection && COLLECTION_ACTIONS.contains(&wanted.action.as_str())
            || self.permissions.iter().any(|own| own.permission == *wanted)
    }

    /// Everything a tenant is asked to grant: its own collections, what it requests, the hosts
    /// it sends to and the collections of others that it checks.
    pub fn asks_for(&self) -> Vec<Permission> {
        let own = self.collections.iter().map(|c| Permission::new(format!("{}.{}", self.name, c.name), "*"));
        let defined = self.permissions.iter().map(|own| own.permission.clone());
        own.chain(defined).chain(self.requests.iter().cloned()).chain(self.wants()).collect()
    }

    /// The collection of this name.
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.collections.iter().find(|c| c.name == name)
    }

    /// The job of this kind.
    pub fn job(&self, kind: &str) -> Option<&JobKind> {
        self.jobs.iter().find(|j| j.kind == kind)
    }

    /// The event of this type.
    pub fn event(&self, event_type: &str) -> Option<&EventType> {
        self.events.iter().find(|e| e.event_type == event_type)
    }

    /// The first subscription that takes events of this type.
    pub fn subscription(&self, event_type: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|s| s.pattern.matches(event_type))
    }
}

/// Names that belong to the platform, beside those its events and permissions begin with.
const RESERVED: [&str; 10] =
    ["core", "platform", "system", "purlin", "egress", "apps", "files", "personal-data", "job", "event"];

/// Whether a name belongs to the platform.
pub fn is_reserved(name: &str) -> bool {
    let of_event = |event: &CoreEvent| event.event_type.split('.').next() == Some(name);
    RESERVED.contains(&name)
        || TYPES.iter().any(of_event)
        || CORE_PERMISSIONS.iter().any(|(resource, ..)| *resource == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(change: impl FnOnce(&mut Json)) -> Descriptor {
        let mut document = json!({
            "name": "shop", "version": "1.0.0", "title": "Shop",
            "collections": [{
                "name": "items",
                "schema": {"type": "object", "properties": {"sku": {"type": "string"}, "tags": {"type": "array"}}, "required": ["sku"]},
                "unique": [["sku"]], "filterable": ["sku"],
            }],
            "events": [{"type": "shop.stock.low"}],
            "jobs": [{"kind": "shop.report"}],
            "subscriptions": [{"pattern": "shop.items.*"}],
            "permissions": [{"permission": "shop.labels:print"}],
            "routes": [{"method": "GET", "path": "/items/{id}/label", "permission": "shop.labels:print"}],
        });
        change(&mut document);
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_reference_leads_to_its_own_plugin_or_to_one_that_it_asks_to_read() {
        let shop = descriptor(|d| {
            d["collections"][0]["schema"]["properties"]["contact"] = json!({ "type": ["string", "null"] });
            d["collections"][0]["references"] =
                json!([{ "property": "contact", "to": "crm.contacts" }, { "property": "sku", "to": "items" }]);
            d["requests"] = json!(["crm.contacts:read"]);
        });
        assert_eq!(shop.violations(), []);
        let [contact, item] = shop.collections[0].references.as_slice() else { panic!() };
        assert_eq!((contact.target("shop").resource().as_str(), contact.restricts("shop")), ("crm.contacts", false));
        assert_eq!((item.target("shop").resource().as_str(), item.restricts("shop")), ("shop.items", true));
        assert!(contact.id(&json!({ "contact": null })).is_none());
        assert!(contact.id(&json!({ "contact": "x" })).unwrap().is_err());
    }

    #[test]
    fn a_sound_descriptor_has_no_violations() {
        let shop = descriptor(|_| {});
        assert_eq!(shop.violations(), []);
        assert!(shop.subscription("shop.items.created").is_some());
        assert_eq!(shop.asks_for(), [Permission::new("shop.items", "*"), Permission::new("shop.labels", "print")]);
        assert_eq!(
            shop.collection("items").unwrap().unique_values(&json!({"sku": "A"})),
            [("sku".to_owned(), blake3::hash(br#"["A"]"#).to_hex().to_string())]
        );
    }

    #[test]
    fn each_flaw_is_found_where_it_is() {
        let flaw = |change: fn(&mut Json)| descriptor(change).violations().first().map(|v| v.pointer.clone());
        assert_eq!(flaw(|d| d["name"] = json!("core")).as_deref(), Some("/name"));
        assert_eq!(flaw(|d| d["events"][0]["type"] = json!("other.stock.low")).as_deref(), Some("/events/0/type"));
        assert_eq!(flaw(|d| d["events"][0]["type"] = json!("shop.items.created")).as_deref(), Some("/events/0/type"));
        assert_eq!(flaw(|d| d["jobs"][0]["kind"] = json!("report")).as_deref(), Some("/jobs/0/kind"));
        assert_eq!(flaw(|d| d["jobs"][0]["timeout_ms"] = json!(0)).as_deref(), Some("/jobs/0/timeout_ms"));
        for bad in ["shop.items:read", "other.labels:print", "shop:print"] {
            let found = descriptor(|d| d["permissions"] = json!([{ "permission": bad }])).violations();
            assert_eq!(found.first().map(|v| v.pointer.as_str()), Some("/permissions/0/permission"), "{bad}");
        }
        for bad in ["items", "/", "/a//b", "/{Id}", "/a/{b", "/../x", "/a b", "/é", "/a/b/c/d/e/f/g/h/i/j/k"] {
            let found = descriptor(|d| d["routes"][0]["path"] = json!(bad)).violations();
            assert_eq!(found.first().map(|v| v.pointer.as_str()), Some("/routes/0/path"), "{bad}");
        }
        assert_eq!(flaw(|d| d["routes"][0]["method"] = json!("get")).as_deref(), Some("/routes/0/method"));
        assert_eq!(
            flaw(|d| d["routes"][0]["permission"] = json!("users:read")).as_deref(),
            Some("/routes/0/permission")
        );
        assert_eq!(flaw(|d| d["egress"] = json!(["https://example.com"])).as_deref(), Some("/egress/0"));
        assert_eq!(flaw(|d| d["settings"] = json!({"type": "object"})).as_deref(), Some("/settings"));
        assert_eq!(flaw(|d| d["checks"] = json!([{"collection": "orders"}])).as_deref(), Some("/checks/0/collection"));
        assert_eq!(
            flaw(|d| d["collections"][0]["filterable"] = json!(["tags"])).as_deref(),
            Some("/collections/0/schema")
        );
        for (member, bad) in [
            ("searchable", json!(["tags"])),
            ("indexed", json!(["tags"])),
            ("references", json!([{ "property": "tags", "to": "items" }])),
            ("references", json!([{ "property": "sku", "to": "orders" }])),
            ("references", json!([{ "property": "sku", "to": "crm.contacts" }])),
            ("personal_data", json!({ "properties": [] })),
            ("personal_data", json!({ "properties": ["sku"] })),
            ("personal_data", json!({ "properties": ["tags"], "subject": "owner" })),
        ] {
            let found = descriptor(|d| d["collections"][0][member] = bad.clone()).violations();
            let at = format!("/collections/0/{member}");
            assert!(found.first().is_some_and(|v| v.pointer.starts_with(&at)), "{member}: {bad} gives {found:?}");
        }
        assert_eq!(
            flaw(|d| d["collections"][0]["unique"] = json!([["tags"]])).as_deref(),
            Some("/collections/0/unique")
        );
        assert_eq!(
            flaw(|d| {
                let c = d["collections"][0].clone();
                d["collections"] = json!([c, c]);
            })
            .as_deref(),
            Some("/collections")
        );
    }
}
