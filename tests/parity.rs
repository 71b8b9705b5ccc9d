//! One API over two databases: requests made up from the OpenAPI document, sent to a host on
//! SQLite and to one on PostgreSQL in the same order, are answered the same.
//!
//! What cannot be the same is masked: ids by when they were first seen, times, what is random
//! ([`RANDOM`]), and cursors by whether there is one. No job runs meanwhile, so that nothing
//! depends on who is faster.

use std::collections::{BTreeMap, HashMap};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::support::{Client, Database, Host, Options, figure, measured, skipped};

/// Members whose values are random, secret, or measured.
const RANDOM: [&str; 24] = [
    "access_token",
    "refresh_token",
    "token",
    "secret",
    "key",
    "hint",
    "url_secret",
    "recovery_codes",
    "request_id",
    "traceparent",
    "trace_id",
    "hash",
    "last_hash",
    "digest",
    "next",
    "prev",
    "report",
    "cpu_us",
    "wall_us",
    "memory_bytes",
    "database",
    "user_agent",
    "version_id",
    "keys",
];
/// What ends the session, changes the password that everybody signs in with, or never ends; and
/// what tells how fast a database is, or of which kind.
const LEFT_OUT: [&str; 9] = [
    "POST /api/v1/auth/logout",
    "POST /api/v1/auth/password/change",
    "GET /api/v1/events/stream",
    "POST /api/v1/plugins",
    "GET /health",
    "GET /health/ready",
    "GET /openapi.json",
    "DELETE /api/v1/job-pauses/{queue}/{kind}",
    "GET /api/v1/tenants/me/openapi.json",
];

/// An operation, as the document describes it.
struct Described {
    method: Method,
    path: String,
    parameters: Vec<(String, Value)>,
    body: Option<Value>,
}

/// A host with its callers, and the ids that it gave, in the order in which they were seen.
struct Side {
    host: Host,
    callers: Vec<Client>,
    seen: HashMap<String, usize>,
    ids: Vec<String>,
}

impl Side {
    async fn start(database: Database) -> Self {
        let options = Options::default()
            .set("PURLIN_DATABASE_CONNECTIONS", 3)
            .set("PURLIN_SQLITE_READERS", 3)
            .set("PURLIN_AUTH_SLOWDOWN_MS", 0)
            .set("PURLIN_ACCESS_TOKEN_MINUTES", 600);
        let host = Host::start_with(database, options).await;
        host.upload(&["inventory", "probe"]).await;
        let ada = host.tenant("acme").await;
        ada.enable("inventory").await;
        ada.enable("probe").await;
        ada.settle().await;
        ada.post("/api/v1/job-pauses", &json!({})).await.expect(201);
        let bob = host.member(&ada, "bob@acme.example", &["viewer"]).await;
        let operator = host.operator().await;
        let callers = vec![ada, bob, operator, host.anonymous()];
        Self { host, callers, seen: HashMap::new(), ids: Vec::new() }
    }

    /// The place of an id among those that were seen.
    fn place(&mut self, id: &str) -> usize {
        let id = id.to_lowercase();
        if let Some(place) = self.seen.get(&id) {
            return *place;
        }
        self.seen.insert(id.clone(), self.ids.len());
        self.ids.push(id);
        self.ids.len() - 1
    }

    fn mask(&mut self, name: &str, value: &Value) -> Value {
        match value {
            Value::Null => Value::Null,
            _ if RANDOM.contains(&name) => json!("***"),
            Value::String(text) => Value::String(self.mask_text(text)),
            Value::Array(items) => items.iter().map(|item| self.mask("", item)).collect(),
            Value::Object(members) => {
                let masked = members.iter().map(|(name, value)| (self.mask_text(name), self.mask(name, value)));
                Value::Object(masked.collect())
            }
            other => other.clone(),
        }
    }

    /// Ids and times within a text, wherever they stand.
    fn mask_text(&mut self, text: &str) -> String {
        let mut masked = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(id) = rest.get(..36).filter(|id| uuid::Uuid::parse_str(id).is_ok()) {
                masked.push_str(&format!("<id {}>", self.place(id)));
                rest = &rest[36..];
            } else if let Some(length) = time_at(rest) {
                masked.push_str("<time>");
                rest = &rest[length..];
            } else {
                masked.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        masked
    }

    /// A text with the ids of this side in the place of `<id n>`.
    fn filled(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        while let Some(from) = filled.find("<id ") {
            let to = from + filled[from..].find('>').unwrap();
            let place: usize = filled[from + 4..to].parse().unwrap();
            filled.replace_range(from..=to, self.ids.get(place).map_or("none", String::as_str));
        }
        filled
    }
}

/// How long the RFC 3339 time is that a text begins with.
fn time_at(text: &str) -> Option<usize> {
    let head = text.as_bytes().get(..19)?;
    let is_time = head.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        10 => *byte == b'T',
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let end = |c: char| !(c.is_ascii_digit() || matches!(c, '.' | 'Z' | '+' | ':'));
    is_time.then(|| text[19..].find(end).map_or(text.len(), |end| 19 + end))
}

fn described(document: &Value) -> Vec<Described> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            if LEFT_OUT.contains(&format!("{method} {path}").as_str()) {
                continue;
            }
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let in_query = parameters.filter(|parameter| parameter["in"] == "query");
            let parameters = in_query
                .map(|parameter| (parameter["name"].as_str().unwrap().to_owned(), parameter["schema"].clone()))
                .collect();
            let body = operation["requestBody"]["content"]["application/json"].get("schema").cloned();
            all.push(Described { method, path: path.clone(), parameters, body });
        }
    }
    all
}

/// Makes up values, the same for both sides.
struct Maker<'a> {
    random: StdRng,
    schemas: &'a Value,
    /// How many ids both sides have seen.
    ids: usize,
}

impl Maker<'_> {
    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    fn text(&mut self) -> String {
        let texts = [
            "",
            "a",
            "A",
            "ops",
            "admin",
            "Bolt",
            "inventory",
            "probe",
            "items",
            "é",
            "É",
            "e\u{301}",
            "%",
            "_",
            "*",
            "a*",
            "\\",
            "a,b",
            "a\\,b",
            "x@y.example",
            "bob@acme.example",
            "BOB@ACME.EXAMPLE",
            "Bob <b@x.example>",
            "a@münchen.example",
            "https://example.org/x",
            "http://localhost/",
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00+02:00",
            "2026-02-30",
            "UTC",
            "Mars/X",
            "true",
            "1",
            "1.5",
            "-0.0",
            "1e19",
            "9223372036854775808",
            "users:read",
            "*:*",
            "inventory.items:*",
            "probe.echo",
            "ping",
            "**",
            "user.*",
            "correct horse battery",
            "\u{0}",
            "😀",
            "null",
        ];
        (*texts.choose(&mut self.random).unwrap()).to_owned()
    }

    fn id(&mut self) -> String {
        match self.random.random_range(0..12) {
            0 => "not-an-id".to_owned(),
            1 => "00000000-0000-0000-0000-000000000000".to_owned(),
            _ if self.ids == 0 => "none".to_owned(),
            _ => format!("<id {}>", self.random.random_range(0..self.ids)),
        }
    }

    fn number(&mut self) -> Value {
        let numbers = [
            json!(0),
            json!(1),
            json!(2),
            json!(-1),
            json!(1.5),
            json!(2.5),
            json!(40.0),
            json!(1e300),
            json!(1e19),
            json!(-0.0),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(200),
            json!(0.1),
        ];
        numbers.choose(&mut self.random).unwrap().clone()
    }

    fn anything(&mut self, depth: usize) -> Value {
        match self.random.random_range(0..if depth > 3 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.random.random::<bool>()),
            2 => self.number(),
            3 => json!(self.text()),
            4 => json!(self.id()),
            5 => (0..self.random.random_range(0..3)).map(|_| self.anything(depth + 1)).collect(),
            _ => self.members(depth),
        }
    }

    fn members(&mut self, depth: usize) -> Value {
        let names = [
            "sku", "name", "stock", "quantity", "item_id", "text", "n", "team", "boss", "t", "m", "k", "b", "x y",
            "reason",
        ];
        let count = self.random.random_range(0..4);
        let mut members = Map::new();
        for _ in 0..count {
            let name = (*names.choose(&mut self.random).unwrap()).to_owned();
            let value =
                if name.ends_with("_id") || name == "boss" { json!(self.id()) } else { self.anything(depth + 1) };
            members.insert(name, value);
        }
        Value::Object(members)
    }

    /// A value for a schema; now and then one that does not fit.
    fn of(&mut self, schema: &Value, depth: usize) -> Value {
        if depth > 6 || self.one_in(12) {
            return self.anything(depth);
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let schemas = self.schemas;
            return self.of(&schemas[reference.rsplit('/').next().unwrap()], depth + 1);
        }
        for many in ["anyOf", "oneOf", "allOf"] {
            if let Some(options) = schema[many].as_array() {
                let option = options.choose(&mut self.random).unwrap().clone();
                return self.of(&option, depth + 1);
            }
        }
        if let Some(options) = schema["enum"].as_array() {
            return options.choose(&mut self.random).unwrap().clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.choose(&mut self.random).unwrap().clone(),
            kind => kind.clone(),
        };
        match kind.as_str() {
            Some("string") if schema["format"] == "uuid" => json!(self.id()),
            Some("string") => json!(self.text()),
            Some("integer" | "number") => self.number(),
            Some("boolean") => json!(self.random.random::<bool>()),
            Some("null") => Value::Null,
            Some("array") => {
                let count = self.random.random_range(0..3);
                (0..count).map(|_| self.of(&schema["items"], depth + 1)).collect()
            }
            Some("object") => {
                let required: Vec<&str> =
                    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let mut members = Map::new();
                for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                    if required.contains(&name.as_str()) && !self.one_in(15) || self.one_in(2) {
                        members.insert(name.clone(), self.named(name, schema, depth));
                    }
                }
                Value::Object(members)
            }
            _ => self.members(depth),
        }
    }

    /// A value for a member whose name says more than its schema.
    fn named(&mut self, name: &str, schema: &Value, depth: usize) -> Value {
        let is_plain = !self.one_in(6);
        match name {
            "email" if is_plain => json!(format!("u{}@acme.example", self.random.random_range(0..30))),
            "password" | "current_password" | "new_password" if is_plain => json!("correct horse battery"),
            "plugin" if is_plain => json!(*["inventory", "probe"].choose(&mut self.random).unwrap()),
            "grants" if is_plain => json!("all"),
            "kind" if is_plain => {
                json!(*["ping", "probe.echo", "inventory.valuation"].choose(&mut self.random).unwrap())
            }
            "url" if is_plain => json!("https://example.org/hook"),
            "event_types" if is_plain => json!(["user.*"]),
            "permissions" | "scopes" if is_plain => json!(["users:read"]),
            "filter" if is_plain => self.filter(),
            "sort" if is_plain => json!([]),
            _ => self.of(schema, depth + 1),
        }
    }

    fn filter(&mut self) -> Value {
        let fields = [
            "id",
            "created_at",
            "email",
            "name",
            "state",
            "sku",
            "stock",
            "quantity",
            "n",
            "t",
            "k",
            "b",
            "type",
            "attempt",
        ];
        let ops = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "like", "ilike", "null"];
        let field = *fields.choose(&mut self.random).unwrap();
        let op = *ops.choose(&mut self.random).unwrap();
        let one = |maker: &mut Self| match field {
            "id" => json!(maker.id()),
            "stock" | "quantity" | "n" | "k" | "attempt" => maker.number(),
            "b" => json!(true),
            _ => json!(maker.text()),
        };
        let value = match op {
            "in" | "nin" => vec![one(self), one(self)].into(),
            "null" => json!(true),
            _ => one(self),
        };
        let leaf = json!({ "field": field, "op": op, "value": value });
        match self.random.random_range(0..4) {
            0 => json!({ "not": leaf }),
            1 => json!({ "and": [leaf, self.filter()] }),
            _ => leaf,
        }
    }

    fn path(&mut self, template: &str) -> String {
        let mut path = template.to_owned();
        while let Some(from) = path.find('{') {
            let to = from + path[from..].find('}').unwrap();
            let name = path[from + 1..to].trim_start_matches('*').to_owned();
            let some = |maker: &mut Self, known: &[&str]| -> String {
                if maker.one_in(10) {
                    return (*["none", "%00", "%FF", "x%20y", "A"].choose(&mut maker.random).unwrap()).to_owned();
                }
                (*known.choose(&mut maker.random).unwrap()).to_owned()
            };
            let value = match name.as_str() {
                "plugin" | "name" => some(self, &["inventory", "probe"]),
                "collection" => some(self, &["items", "movements", "notes", "values", "people"]),
                "version" => some(self, &["0.1.0", "1.0.0", "1"]),
                "queue" => some(self, &["low", "*"]),
                "kind" => some(self, &["ping"]),
                "type" => some(self, &["user.created"]),
                "file" => some(self, &["index.html"]),
                "path" => some(self, &["echo/word", "notes"]),
                "key" => some(self, &["a.txt"]),
                _ => self.id(),
            };
            path.replace_range(from..=to, &value);
        }
        path
    }

    fn query(&mut self, parameters: &[(String, Value)]) -> Vec<(String, String)> {
        let count = [0, 1, 1, 2, 3].choose(&mut self.random).copied().unwrap();
        let some: Vec<&(String, Value)> = parameters.sample(&mut self.random, count).collect();
        let some = some.into_iter().filter(|(name, _)| name != "page[after]" && name != "page[before]");
        some.map(|(name, schema)| {
            let value = match self.of(schema, 0) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            (name.clone(), value)
        })
        .collect()
    }
}

/// A request, ids of a side not filled in.
#[derive(Debug)]
struct Asked {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<Value>,
    caller: usize,
}

async fn send(side: &mut Side, asked: &Asked) -> Value {
    let client = side.callers[asked.caller].clone();
    let query: Vec<(String, String)> =
        asked.query.iter().map(|(name, value)| (name.clone(), side.filled(value))).collect();
    let mut request = client.request(asked.method.clone(), &side.filled(&asked.path)).query(&query);
    if asked.query.len() % 2 == 1 {
        request = request.header("prefer", "count=exact");
    }
    if let Some(body) = &asked.body {
        request = request.header("content-type", "application/json").body(side.filled(&body.to_string()));
    }
    let answer = client.send(request).await;
    let headers: Map<String, Value> = ["content-type", "location", "allow", "accept-patch", "cache-control"]
        .into_iter()
        .filter_map(|name| {
            let value = answer.headers.get(name)?.to_str().ok()?.to_owned();
            Some((name.to_owned(), Value::String(side.mask_text(&value))))
        })
        .collect();
    let has_tag = answer.headers.contains_key("etag");
    json!({ "status": answer.status, "headers": headers, "tag": has_tag, "body": side.mask("", &answer.body) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_databases_answer_every_operation_the_same() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let (mut one, mut other) = tokio::join!(Side::start(Database::sqlite()), Side::start(database));
    let document = one.callers[0].get("/openapi.json").await.expect(200);
    let operations = described(&document);
    let seed = std::env::var("PURLIN_PARITY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
    let mut maker = Maker { random: StdRng::seed_from_u64(seed), schemas: &document["components"]["schemas"], ids: 0 };
    let requests = figure(700, 10_000);
    let (mut different, mut statuses) = (Vec::new(), BTreeMap::<u64, usize>::new());
    for n in 0..requests {
        // Each operation in turn, so that none is left out; what reads collections more often.
        let operation = match n % 3 {
            0 => &operations[(n / 3) % operations.len()],
            1 => operations.choose(&mut maker.random).unwrap(),
            _ => {
                let of_apps: Vec<&Described> = operations.iter().filter(|o| o.path.contains("{collection}")).collect();
                of_apps.choose(&mut maker.random).copied().unwrap()
            }
        };
        maker.ids = one.ids.len().min(other.ids.len());
        let body = operation.body.as_ref().map(|schema| {
            let is_record = operation.path.ends_with("{collection}") || operation.path.ends_with("{collection}/{id}");
            if is_record { maker.members(0) } else { maker.of(schema, 0) }
        });
        let asked = Asked {
            method: operation.method.clone(),
            path: maker.path(&operation.path),
            query: maker.query(&operation.parameters),
            body,
            caller: *[0, 0, 0, 0, 0, 0, 1, 2, 2, 3].choose(&mut maker.random).unwrap(),
        };
        let (a, b) = (send(&mut one, &asked).await, send(&mut other, &asked).await);
        *statuses.entry(a["status"].as_u64().unwrap()).or_default() += 1;
        if a != b {
            different.push(format!("{asked:?}\n  SQLite     {a}\n  PostgreSQL {b}"));
            if different.len() >= 20 {
                break;
            }
        }
        assert_eq!(one.ids.len(), other.ids.len(), "after {asked:?}\n{a}\n{b}");
    }
    measured!(
        "{requests} requests over {} operations, by status {statuses:?}: {} differ",
        operations.len(),
        different.len()
    );
    assert!(different.is_empty(), "{}", different.join("\n\n"));
    assert!(!one.host.log().contains("panicked") && !other.host.log().contains("panicked"));
}
