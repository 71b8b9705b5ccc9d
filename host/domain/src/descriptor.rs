//! What a plugin says of itself: the JSON document its `describe` returns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Json,
    access::Permission,
    error::Violation,
    filter::{Field, FieldType, Source},
    job::{ATTEMPTS_DEFAULT, Queue},
    name::{is_dotted, is_slug, is_word},
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
    /// What it wants beyond its own collections, for example `users:read` or `crm.contacts:read`.
    #[serde(default)]
    pub requests: Vec<Permission>,
}

/// A collection of records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// Its name within the plugin.
    pub name: String,
    /// Its name for people.
    #[serde(default)]
    pub title: String,
    /// The JSON Schema (2020-12) of a record's data; an object with `properties`.
    pub schema: Json,
    /// Keys of which no two records share the values; each a list of required top-level properties.
    #[serde(default)]
    pub unique: Vec<Vec<String>>,
    /// Properties that lists may filter by; text, number or boolean.
    #[serde(default)]
    pub filterable: Vec<String>,
    /// Properties that lists may sort by; text, number or boolean.
    #[serde(default)]
    pub sortable: Vec<String>,
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
            is_slug(&self.name) && !RESERVED.contains(&self.name.as_str()),
            "/name".into(),
            format!(
                "`{}` cannot be a plugin's name: use 2 to 40 lower-case letters, digits and hyphens, none of {RESERVED:?}",
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
            ("requests", self.requests.len()),
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
        for (i, job) in self.jobs.iter().enumerate() {
            check(
                is_dotted(&job.kind) && job.kind.starts_with(&own),
                format!("/jobs/{i}/kind"),
                format!("`{}` does not lie in the name space `{own}`", job.kind),
            );
            check((1..=100).contains(&job.attempts), format!("/jobs/{i}/attempts"), "1 to 100".into());
            check(
                (1..=TIMEOUT_MS_MAX).contains(&job.timeout_ms),
                format!("/jobs/{i}/timeout_ms"),
                format!("1 to {TIMEOUT_MS_MAX}"),
            );
        }
        for (pointer, name) in self.repeated() {
            check(false, pointer, format!("`{name}` is there twice"));
        }
        for (i, collection) in self.collections.iter().enumerate() {
            found.extend(collection.violations(&format!("/collections/{i}")));
        }
        found
    }

    fn repeated(&self) -> Vec<(String, String)> {
        let mut seen = BTreeMap::new();
        let names = (self.collections.iter().map(|c| ("/collections", c.name.clone())))
            .chain(self.events.iter().map(|e| ("/events", e.event_type.clone())))
            .chain(self.jobs.iter().map(|j| ("/jobs", j.kind.clone())));
        names
            .filter_map(|key| {
                let count = seen.entry(key.clone()).or_insert(0);
                *count += 1;
                (*count == 2).then(|| (key.0.to_owned(), key.1))
            })
            .collect()
    }

    /// Everything a tenant is asked to grant: its own collections, and what it requests.
    pub fn asks_for(&self) -> Vec<Permission> {
        let own = self.collections.iter().map(|c| Permission::new(format!("{}.{}", self.name, c.name), "*"));
        own.chain(self.requests.iter().cloned()).collect()
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

/// Names that belong to the platform.
pub const RESERVED: [&str; 8] = ["core", "user", "tenant", "role", "plugin", "job", "event", "audit"];

impl Collection {
    fn violations(&self, at: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut check = |holds: bool, pointer: &str, detail: String| {
            if !holds {
                found.push(Violation::new(format!("{at}{pointer}"), "descriptor", detail));
            }
        };
        check(
            is_word(&self.name),
            "/name",
            format!("`{}` is not a name: use lower-case letters, digits, `_`, `-`", self.name),
        );
        check(
            self.schema.get("properties").is_some_and(Json::is_object),
            "/schema",
            "an object schema with `properties` is needed".to_owned(),
        );
        for name in self.filterable.iter().chain(&self.sortable) {
            check(
                is_word(name) && BASE_FIELDS.iter().all(|(base, _)| base != name) && self.field_type(name).is_some(),
                "/schema",
                format!(
                    "`{name}` is listed as filterable or sortable, so `properties` must give it type string, number, integer or boolean"
                ),
            );
        }
        check(self.unique.len() <= 10, "/unique", "at most 10 unique keys".to_owned());
        let required = |name: &String| {
            self.schema.get("required").and_then(Json::as_array).is_some_and(|r| r.iter().any(|v| v == name))
        };
        for key in &self.unique {
            check(
                !key.is_empty() && key.iter().all(|name| self.field_type(name).is_some() && required(name)),
                "/unique",
                format!("{key:?} needs required properties of type string, number, integer or boolean"),
            );
        }
        found
    }

    fn field_type(&self, name: &str) -> Option<FieldType> {
        match self.schema.get("properties")?.get(name)?.get("type")?.as_str()? {
            "string" => Some(FieldType::Text),
            "number" | "integer" => Some(FieldType::Number),
            "boolean" => Some(FieldType::Boolean),
            _ => None,
        }
    }

    /// Every field that lists know: those of every record, and those the plugin named.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields: Vec<Field> =
            BASE_FIELDS.iter().map(|(name, field_type)| Field::column(name, *field_type)).collect();
        for name in self.filterable.iter().chain(self.sortable.iter().filter(|s| !self.filterable.contains(s))) {
            if let Some(field_type) = self.field_type(name) {
                fields.push(Field {
                    name: name.clone(),
                    field_type,
                    source: Source::Data,
                    filterable: self.filterable.contains(name),
                    sortable: self.sortable.contains(name),
                    nullable: true,
                });
            }
        }
        fields
    }

    /// Each unique key of this data: its name, and a BLAKE3 digest of its values, so that
    /// it takes the same room however long they are.
    pub fn unique_values(&self, data: &Json) -> Vec<(String, String)> {
        let value = |name: &String| data.get(name).cloned().unwrap_or(Json::Null);
        let digest = |values: Json| blake3::hash(values.to_string().as_bytes()).to_hex().to_string();
        self.unique.iter().map(|key| (key.join("+"), digest(key.iter().map(value).collect()))).collect()
    }
}

/// The fields of every record, whatever its collection.
pub const BASE_FIELDS: [(&str, FieldType); 3] =
    [("id", FieldType::Uuid), ("created_at", FieldType::Timestamp), ("updated_at", FieldType::Timestamp)];

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
        });
        change(&mut document);
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_sound_descriptor_has_no_violations() {
        let shop = descriptor(|_| {});
        assert_eq!(shop.violations(), []);
        assert!(shop.subscription("shop.items.created").is_some());
        assert_eq!(shop.asks_for(), [Permission::new("shop.items", "*")]);
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
        assert_eq!(
            flaw(|d| d["collections"][0]["filterable"] = json!(["tags"])).as_deref(),
            Some("/collections/0/schema")
        );
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
