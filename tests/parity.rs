//! One API over two databases: requests made up from the OpenAPI document, sent to a host on
//! SQLite and to one on PostgreSQL in the same order, are answered the same.
//!
//! What cannot be the same is masked: ids by when they were first seen, times, what is random
//! ([`RANDOM`]), and cursors by whether there is one. No job runs meanwhile, so that nothing
//! depends on who is faster.

mod maker;

use std::collections::{BTreeMap, HashMap};

use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::Method;
use serde_json::{Map, Value, json};

use self::maker::Maker;
use crate::support::{Client, Database, Host, Options, figure, measured, skipped};

/// Whether a slug was varied by chance, since the one that the name gives was taken.
fn is_varied(slug: &str) -> bool {
    slug.rsplit_once('-').is_some_and(|(_, end)| end.len() == 4 && end.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Members whose values are random, secret, or measured; of record data the bytes are those of the
/// text that the database makes of it.
const RANDOM: [&str; 27] = [
    "storage_bytes",
    "other_bytes",
    "other_bytes_of",
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
        ada.post("/api/v1/job-pauses", &json!({ "kind": "*" })).await.expect(201);
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
            Value::String(text) if name == "slug" && is_varied(text) => json!("<a slug that was free>"),
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
            if let Some(secret) = rest.strip_prefix("?secret=") {
                // Of a second factor.
                masked.push_str("?secret=***");
                rest = secret.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric());
            } else if let Some(id) = rest.get(..36).filter(|id| uuid::Uuid::parse_str(id).is_ok()) {
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
