//! SQL in everything that a caller can say: it changes nothing and finds nothing.

use purlin_api::{Needs, operations};
use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host};

const TEXTS: [&str; 14] = [
    "' OR '1'='1",
    "' OR 1=1 --",
    "'; DROP TABLE users; --",
    "'; UPDATE users SET is_operator = true; --",
    "\" OR \"\"=\"",
    "1; SELECT pg_sleep(5)",
    "') UNION SELECT password_hash FROM users --",
    "%' OR tenant_id IS NOT NULL --",
    "\\'; DELETE FROM audit_log; --",
    "$1",
    "{{7*7}}",
    "/**/OR/**/1=1",
    "x' || (SELECT slug FROM tenants LIMIT 1) || '",
    "\u{2019} OR 1=1",
];

/// How many rows each tenant's table has, and what the users are.
async fn state(client: &Client) -> Value {
    let count = async |path: &str| {
        let list = client.request(Method::GET, path).header("prefer", "count=exact");
        client.send(list).await.expect(200)["page"]["total"].clone()
    };
    json!({
        "users": client.rows("/api/v1/users?sort=id").await,
        "roles": client.rows("/api/v1/roles?sort=id").await,
        "audit": count("/api/v1/audit-logs").await,
        "events": count("/api/v1/events").await,
        "items": count("/api/v1/apps/inventory/items").await,
    })
}

#[db_test]
async fn no_filter_sort_cursor_search_or_path_takes_sql(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    ada.create("inventory/items", json!({ "sku": "A", "name": "x" })).await;
    ada.settle().await;
    let before = state(&ada).await;
    let mut tried = 0;
    for operation in operations().into_iter().filter(|operation| operation.needs != Needs::Nothing) {
        for text in TEXTS {
            for path in paths_with(operation.path, text) {
                let body = match operation.path.rsplit('/').next() {
                    Some("purge") => json!({ "confirm": "x" }),
                    _ if operation.path.contains("/secrets/") => json!({ "value": "x" }),
                    _ => json!({}),
                };
                let request = ada.request(operation.method.clone(), &path).json(&body);
                let status = ada.send(request).await.status;
                assert!([403, 404].contains(&status), "{} {path}: {status}", operation.method);
                tried += 1;
            }
            let list = filled(operation.path);
            if operation.method != Method::GET || list.contains('{') {
                continue;
            }
            for parameter in [
                "filter[id]",
                "filter[created_at][gt]",
                &format!("filter[{text}]"),
                &format!("filter[id][{text}]"),
                "sort",
                "page[after]",
                "page[before]",
                "page[size]",
                text,
            ] {
                let query = format!("{}={}", encoded(parameter), encoded(text));
                let status = ada.get(&format!("{list}?{query}")).await.status;
                // What is no list takes no parameters, and answers as if there were none.
                assert!(
                    [400, 403].contains(&status) || unlisted(&ada, &list).await == Some(status),
                    "{list}?{query}: {status}"
                );
                tried += 1;
            }
        }
    }
    for text in TEXTS {
        // As a value of a text field it is just a text that nothing equals.
        for query in [
            format!("filter[email]={}", encoded(text)),
            format!("filter[email][ilike]={}", encoded(text)),
            format!("filter[email][in]={}", encoded(text)),
        ] {
            assert!(ada.rows(&format!("/api/v1/users?{query}")).await.is_empty(), "{query}");
        }
        for body in [
            json!({ "filter": { "field": text, "op": "eq", "value": "x" } }),
            json!({ "filter": { "field": "email", "op": text, "value": "x" } }),
            json!({ "filter": { "and": text } }),
            json!({ "sort": [text] }),
            json!({ "page": { "after": text } }),
        ] {
            let status = ada.post("/api/v1/users/search", &body).await.status;
            assert!([400, 422].contains(&status), "{body}: {status}");
            tried += 1;
        }
        for (path, body) in [
            ("/api/v1/auth/login", json!({ "email": text, "password": text, "tenant": text })),
            ("/api/v1/auth/refresh", json!({ "refresh_token": text })),
            ("/api/v1/auth/email/verify", json!({ "token": text })),
            ("/api/v1/access/explain", json!({ "resource": text, "action": text })),
        ] {
            let status = ada.post(path, &body).await.status;
            assert!((400..500).contains(&status), "{path} {body}: {status}");
            tried += 1;
        }
    }
    crate::support::measured!("{tried} injections tried");
    assert_eq!(state(&ada).await, before, "nothing changed");
    let role = ada.post("/api/v1/roles", &json!({ "name": TEXTS[2], "description": TEXTS[3] })).await.expect(201);
    assert_eq!(role["name"], TEXTS[2], "as data it is data");
}

const FILLED: [(&str, &str); 4] =
    [("{plugin}", "inventory"), ("{name}", "inventory"), ("{collection}", "items"), ("{version}", "0.1.0")];

/// The path with everything in it that has a name; ids stay open.
fn filled(template: &str) -> String {
    FILLED.iter().fold(template.to_owned(), |path, (place, name)| path.replace(place, name))
}

/// The path with this text in one of its places at a time.
fn paths_with(template: &str, text: &str) -> Vec<String> {
    let places = template.split('/').filter(|part| part.starts_with('{'));
    let id = "01930000-0000-7000-8000-000000000000";
    let fill = |place: &str| {
        let path = filled(&template.replace(place, &encoded(text)));
        ["{id}", "{role_id}", "{permission_id}"].iter().fold(path, |path, place| path.replace(place, id))
    };
    places.map(fill).collect()
}

/// The status that the path answers without any parameter, where it is no list.
async fn unlisted(client: &Client, base: &str) -> Option<u16> {
    let answer = client.get(base).await;
    (!answer.body["page"].is_object()).then_some(answer.status)
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}
