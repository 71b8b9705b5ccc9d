//! What a plugin says of itself.

use serde::Serialize;
use serde_json::Value;

use crate::{Verb, jobs::Queue};

/// A plugin's descriptor, built step by step.
#[derive(Clone, Debug, Serialize)]
pub struct Descriptor {
    name: String,
    version: String,
    title: String,
    description: String,
    collections: Vec<Collection>,
    subscriptions: Vec<Subscription>,
    events: Vec<EventType>,
    jobs: Vec<JobKind>,
    permissions: Vec<OwnPermission>,
    routes: Vec<Route>,
    requests: Vec<String>,
    settings: Option<Value>,
    secrets: Vec<Secret>,
    egress: Vec<String>,
    checks: Vec<Check>,
    lifecycle: Vec<&'static str>,
    files: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Secret {
    name: String,
    description: String,
}

#[derive(Clone, Debug, Serialize)]
struct Check {
    collection: String,
    verbs: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct OwnPermission {
    permission: String,
    description: String,
}

#[derive(Clone, Debug, Serialize)]
struct Subscription {
    pattern: String,
    ordered: bool,
    on_dead: &'static str,
}

impl Descriptor {
    /// A plugin of this name (2 to 40 lower-case letters, digits, hyphens), version
    /// (Semantic Versioning; `env!("CARGO_PKG_VERSION")` does) and title. The name is
    /// also its name space: its events and job kinds begin with `name.`.
    pub fn new(name: &str, version: &str, title: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            title: title.to_owned(),
            description: String::new(),
            collections: Vec::new(),
            subscriptions: Vec::new(),
            events: Vec::new(),
            jobs: Vec::new(),
            permissions: Vec::new(),
            routes: Vec::new(),
            requests: Vec::new(),
            settings: None,
            secrets: Vec::new(),
            egress: Vec::new(),
            checks: Vec::new(),
            lifecycle: Vec::new(),
            files: false,
        }
    }

    /// What it does, in a sentence or two, for the administrator who enables it.
    pub fn description(mut self, text: &str) -> Self {
        self.description = text.to_owned();
        self
    }

    /// Add a collection of records.
    pub fn collection(mut self, collection: Collection) -> Self {
        self.collections.push(collection);
        self
    }

    /// Handle events whose type matches: `*` stands for one word, `**` at the end for one
    /// or more. Events outside the plugin's own name space need the request `events:read`.
    pub fn subscribe(mut self, pattern: &str) -> Self {
        self.subscriptions.push(Subscription { pattern: pattern.to_owned(), ordered: false, on_dead: "continue" });
        self
    }

    /// The same, with those of one subject handled one after the other, in the order in
    /// which they were published. One that fails for good is left out.
    pub fn subscribe_ordered(mut self, pattern: &str) -> Self {
        self.subscriptions.push(Subscription { pattern: pattern.to_owned(), ordered: true, on_dead: "continue" });
        self
    }

    /// The same, but where one fails for good those behind it wait until somebody retries or
    /// discards it.
    pub fn subscribe_strictly_ordered(mut self, pattern: &str) -> Self {
        self.subscriptions.push(Subscription { pattern: pattern.to_owned(), ordered: true, on_dead: "block" });
        self
    }

    /// Publish events of this type.
    pub fn publishes(mut self, event: EventType) -> Self {
        self.events.push(event);
        self
    }

    /// Run jobs of this kind.
    pub fn job(mut self, kind: JobKind) -> Self {
        self.jobs.push(kind);
        self
    }

    /// Define a permission, for example `inventory.labels:print`, that roles can hold beside
    /// those of the collections; what it allows, for whoever makes roles.
    pub fn permission(mut self, permission: &str, description: &str) -> Self {
        self.permissions.push(OwnPermission { permission: permission.to_owned(), description: description.to_owned() });
        self
    }

    /// Answer requests to this route.
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Ask for a permission beyond the plugin's own collections, for example `users:read`.
    /// The tenant may refuse it; calls that need it then fail with `NotGranted`.
    pub fn requests(mut self, permission: &str) -> Self {
        self.requests.push(permission.to_owned());
        self
    }

    /// The JSON Schema (draft 2020-12) of its settings: an object with `properties`, whose
    /// `default`s are filled in where an administrator sets nothing.
    pub fn settings(mut self, schema: Value) -> Self {
        self.settings = Some(schema);
        self
    }

    /// Read a secret of this name, such as a key of another service; what it is for, for
    /// whoever sets it.
    pub fn secret(mut self, name: &str, description: &str) -> Self {
        self.secrets.push(Secret { name: name.to_owned(), description: description.to_owned() });
        self
    }

    /// Send requests to this host: `api.example.com`, or `*.example.com` for every host in a
    /// domain. The tenant may refuse it; requests to it then fail with `NotGranted`.
    pub fn sends_to(mut self, host: &str) -> Self {
        self.egress.push(host.to_owned());
        self
    }

    /// Check these writes to a collection before they are made: one of the plugin's own by its
    /// name, or another's as `plugin.collection`, which the tenant may refuse.
    pub fn check(mut self, collection: &str, verbs: &[Verb]) -> Self {
        let name = |verb: &Verb| match verb {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
        };
        self.checks.push(Check { collection: collection.to_owned(), verbs: verbs.iter().map(name).collect() });
        self
    }

    /// Be told when the tenant enables it, runs it in another version, or sets its settings or
    /// secrets.
    pub fn on(mut self, step: Told) -> Self {
        self.lifecycle.push(match step {
            Told::Enabled => "enabled",
            Told::Upgraded => "upgraded",
            Told::Configured => "configured",
        });
        self
    }

    /// Keep [files](crate::files).
    pub fn keeps_files(mut self) -> Self {
        self.files = true;
        self
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A step in its life that a plugin can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was enabled.
    Enabled,
    /// It runs in another version.
    Upgraded,
    /// Its settings or secrets changed.
    Configured,
}

/// A collection of records. For each one the host offers create, read, update, delete and
/// list over HTTP, checks permissions, validates, audits and publishes
/// `{plugin}.{collection}.created`, `.updated` and `.deleted`.
#[derive(Clone, Debug, Serialize)]
pub struct Collection {
    name: String,
    title: String,
    schema: Value,
    unique: Vec<Vec<String>>,
    filterable: Vec<String>,
    sortable: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    indexed: Vec<String>,
    searchable: Vec<String>,
    references: Vec<Reference>,
    personal_data: Option<PersonalData>,
}

#[derive(Clone, Debug, Serialize)]
struct Reference {
    property: String,
    to: String,
    on_delete: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct PersonalData {
    properties: Vec<String>,
    subject: Option<String>,
}

impl Collection {
    /// A collection of this name whose records this JSON Schema (draft 2020-12) describes:
    /// an object with `properties`.
    pub fn new(name: &str, schema: Value) -> Self {
        Self {
            name: name.to_owned(),
            title: String::new(),
            schema,
            unique: Vec::new(),
            filterable: Vec::new(),
            sortable: Vec::new(),
            indexed: Vec::new(),
            searchable: Vec::new(),
            references: Vec::new(),
            personal_data: None,
        }
    }

    /// Its name for people.
    pub fn title(mut self, title: &str) -> Self {
        self.title = title.to_owned();
        self
    }

    /// No two records share the values of these properties, all of them required.
    pub fn unique(mut self, properties: &[&str]) -> Self {
        self.unique.push(owned(properties));
        self
    }

    /// Lists may filter by these properties: strings, numbers or booleans.
    pub fn filterable(mut self, properties: &[&str]) -> Self {
        self.filterable.extend(owned(properties));
        self
    }

    /// Lists may sort by these properties: strings, numbers or booleans.
    pub fn sortable(mut self, properties: &[&str]) -> Self {
        self.sortable.extend(owned(properties));
        self
    }

    /// Lists filter by these properties without reading the whole collection. Each of them is
    /// filterable.
    pub fn indexed(mut self, properties: &[&str]) -> Self {
        self.indexed.extend(owned(properties));
        self
    }

    /// A search for words (`?q=`) looks through these properties: strings.
    pub fn searchable(mut self, properties: &[&str]) -> Self {
        self.searchable.extend(owned(properties));
        self
    }

    /// This property holds the id of a record of another collection, or nothing: one of the
    /// plugin's own by its name, whose records cannot be deleted while one refers to them, or
    /// another plugin's as `plugin.collection`, which the plugin requests to read.
    pub fn references(mut self, property: &str, to: &str) -> Self {
        self.references.push(Reference { property: property.to_owned(), to: to.to_owned(), on_delete: None });
        self
    }

    /// The same, but the other record can be deleted; whoever refers to it keeps its id.
    pub fn references_loosely(mut self, property: &str, to: &str) -> Self {
        let on_delete = Some("keep");
        self.references.push(Reference { property: property.to_owned(), to: to.to_owned(), on_delete });
        self
    }

    /// These properties are personal data, about the user whose id the filterable property
    /// `subject` holds, or about somebody else. None of them is required.
    pub fn personal_data(mut self, properties: &[&str], subject: Option<&str>) -> Self {
        let subject = subject.map(str::to_owned);
        self.personal_data = Some(PersonalData { properties: owned(properties), subject });
        self
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A type of event a plugin publishes.
#[derive(Clone, Debug, Serialize)]
pub struct EventType {
    #[serde(rename = "type")]
    event_type: String,
    schema: Option<Value>,
}

impl EventType {
    /// Events of this type, in the plugin's name space: `inventory.stock.low`.
    pub fn new(event_type: &str) -> Self {
        Self { event_type: event_type.to_owned(), schema: None }
    }

    /// The JSON Schema of their data.
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }
}

/// A kind of job a plugin runs.
#[derive(Clone, Debug, Serialize)]
pub struct JobKind {
    kind: String,
    schema: Option<Value>,
    attempts: u32,
    timeout_ms: u64,
    queue: &'static str,
    schedule: Option<Schedule>,
}

#[derive(Clone, Debug, Serialize)]
struct Schedule {
    cron: String,
    time_zone: String,
    missed: &'static str,
}

impl JobKind {
    /// Jobs of this kind, in the plugin's name space: `inventory.suggest-reorder`. Ten
    /// attempts and a minute each, unless said otherwise.
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned(), schema: None, attempts: 10, timeout_ms: 60_000, queue: "default", schedule: None }
    }

    /// Its share of the workers.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queue = match queue {
            Queue::High => "high",
            Queue::Default => "default",
            Queue::Low => "low",
        };
        self
    }

    /// Enqueue one by itself, with an empty payload: at these times (five fields of cron:
    /// minute, hour, day of the month, month, day of the week) of this time zone (its IANA
    /// name). One that was missed while no host ran is made up for once.
    pub fn schedule(mut self, cron: &str, time_zone: &str) -> Self {
        self.schedule = Some(Schedule { cron: cron.to_owned(), time_zone: time_zone.to_owned(), missed: "once" });
        self
    }

    /// Leave out what was missed while no host ran.
    pub fn skip_missed(mut self) -> Self {
        self.schedule = self.schedule.map(|schedule| Schedule { missed: "skip", ..schedule });
        self
    }

    /// The JSON Schema of their payload.
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }

    /// How often one is tried before it is a dead letter, 1 to 100.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Wall-clock time of one run in milliseconds, 15 minutes at most.
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = timeout_ms;
        self
    }
}

/// An HTTP route a plugin answers, below `/api/v1/apps/{plugin}/-`.
#[derive(Clone, Debug, Serialize)]
pub struct Route {
    method: String,
    path: String,
    permission: String,
    summary: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
}

impl Route {
    /// Requests of this method (GET, POST, PUT, PATCH or DELETE) to this path, its parameters
    /// in braces (`/items/{id}/label`), from who holds this permission: one of the plugin's
    /// own collections, or one that it defines.
    pub fn new(method: &str, path: &str, permission: &str) -> Self {
        let (method, path, permission) = (method.to_owned(), path.to_owned(), permission.to_owned());
        Self { method, path, permission, summary: String::new(), headers: Vec::new() }
    }

    /// A header that it sees beside `user-agent`, `origin` and those that begin with `accept`,
    /// `content-` or `if-`: in lower case, beginning with `x-`.
    pub fn header(mut self, name: &str) -> Self {
        self.headers.push(name.to_owned());
        self
    }

    /// What it does, in a line, for whoever calls it.
    pub fn summary(mut self, text: &str) -> Self {
        self.summary = text.to_owned();
        self
    }
}
