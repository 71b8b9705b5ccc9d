//! Plugins answer requests to routes of their own, for their callers.

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host};

const APP: &str = "/api/v1/apps/probe/-";

async fn notes(client: &Client) -> Vec<Value> {
    client.rows("/api/v1/apps/probe/notes").await
}

#[db_test]
async fn a_plugin_answers_a_request_with_what_came_in_but_no_credentials(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let request = ada.request(method.clone(), &format!("{APP}/echo/a%2Fb%20c?x=1&x=%C3%A9"));
        let request = request.header("x-mine", "yes").header("cookie", "secret=1").body("hello");
        let request = request.header("x-forwarded-access-token", "secret").header("x-goog-iap-jwt-assertion", "secret");
        let seen = ada.send(request).await.expect(200);
        assert_eq!(seen["method"], method.as_str());
        assert_eq!(seen["route"], "/echo/{word}");
        assert_eq!(seen["path"], "/echo/a%2Fb%20c");
        assert_eq!(seen["word"], "a/b c", "a parameter is decoded, and may hold a slash");
        assert_eq!(seen["query"], json!([["x", "1"], ["x", "é"]]));
        assert_eq!(seen["body"], "hello");
        let headers = seen["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["x-mine", "yes"])), "{headers:?}");
        for kept in ["authorization", "cookie", "host", "x-forwarded-access-token", "x-goog-iap-jwt-assertion"] {
            assert!(headers.iter().all(|header| header[0] != kept), "{kept}: {headers:?}");
        }
    }
}

#[db_test]
async fn effects_are_kept_with_a_good_answer_and_only_with_one(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let ask = async |query: &str, text: &str| {
        ada.post(&format!("{APP}/notes?{query}"), &json!({ "text": text })).await.status
    };
    assert_eq!(ask("status=201", "kept").await, 201);
    assert_eq!(ask("status=399", "kept too").await, 399);
    let bad = [("status=400", 400), ("status=599", 599), ("then=panic", 502), ("status=99", 502), ("status=408", 502)];
    for (query, status) in bad {
        assert_eq!(ask(query, query).await, status, "{query}");
    }
    ada.settle().await;
    let texts: Vec<Value> = notes(&ada).await.iter().map(|row| row["data"]["text"].clone()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    let of_type = async |name: &str| ada.rows(&format!("/api/v1/events?filter[type]={name}")).await;
    assert_eq!(of_type("probe.notes.created").await.len(), 2);
    let stepped = of_type("probe.stepped").await;
    assert_eq!(stepped.len(), 2);
    assert_eq!(stepped[0]["actor"], ada.me["user"]["id"], "the caller acts");
    assert_eq!(ada.rows("/api/v1/audit-logs?filter[action]=probe.notes.created").await.len(), 2);
}

#[db_test]
async fn an_answer_is_the_plugins_own_within_what_a_page_of_the_platform_allows(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let answer = ada.request(Method::POST, &format!("{APP}/notes")).json(&json!({ "text": "a" })).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let headers = answer.headers().clone();
    assert_eq!(headers["content-type"], "application/x-note");
    assert!(headers["location"].to_str().unwrap().starts_with("/notes/"));
    assert!(headers.contains_key("x-note") && headers.contains_key("x-request-id"));
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
    for refused in ["set-cookie", "access-control-allow-origin", "x-accel-redirect"] {
        assert!(!headers.contains_key(refused), "{refused}");
    }
    assert_eq!(headers["cache-control"], "private, max-age=60", "no cache that others share keeps it");
    assert!(headers.get_all("vary").iter().any(|value| value == "authorization"));
    assert_eq!(answer.bytes().await.unwrap().as_ref(), [0xff, 0x00, 0xfe]);
    let split = ada.request(Method::GET, &format!("{APP}/break/split")).send().await.unwrap();
    assert_eq!(split.status(), 200);
    assert!(!split.headers().contains_key("x-a") && !split.headers().contains_key("set-cookie"));
}

#[db_test]
async fn what_goes_wrong_in_a_guest_is_a_problem_that_says_so(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for (how, status, code) in [
        ("denied", 403, "forbidden"),
        ("not-found", 404, "not_found"),
        ("conflict", 409, "conflict"),
        ("invalid", 422, "invalid"),
        ("unavailable", 503, "unavailable"),
        ("panic", 502, "plugin_failed"),
        ("status", 502, "plugin_failed"),
        ("huge", 502, "plugin_failed"),
        ("headers", 502, "plugin_failed"),
        ("spin", 502, "plugin_limit"),
    ] {
        assert_eq!(ada.get(&format!("{APP}/break/{how}")).await.problem(status), code, "{how}");
    }
    let large = ada.request(Method::POST, &format!("{APP}/echo/a")).body(vec![b'x'; 2 << 20]);
    assert_eq!(ada.send(large).await.problem(413), "too_large");
    let invalid = ada.get(&format!("{APP}/break/invalid")).await;
    assert_eq!(invalid.body["errors"][0]["pointer"], "/text");
    assert_eq!(invalid.body["errors"][0]["detail"], "is not polite");
    let log = ada.log_of("probe").await.join("\n");
    for why in ["went wrong", "the cpu limit was met", "200 to 599", "64 headers", "body of an answer"] {
        assert!(log.contains(why), "{why}: {log}");
    }
    ada.get(&format!("{APP}/echo/still")).await.expect(200);
    let head = ada.request(Method::HEAD, &format!("{APP}/echo/still")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.bytes().await.unwrap().len()), (200, 0));
}

#[db_test]
async fn a_route_is_for_whoever_holds_its_permission_where_the_plugin_is_enabled(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let bob = host.tenant("bolts").await;
    let viewer = host.member(&ada, "viewer@acme.example", &["viewer"]).await;
    viewer.get(&format!("{APP}/echo/a")).await.expect(200);
    assert_eq!(viewer.post(&format!("{APP}/notes"), &json!({ "text": "a" })).await.problem(403), "forbidden");
    assert_eq!(viewer.get(&format!("{APP}/break/status")).await.problem(403), "forbidden");
    assert_eq!(bob.get(&format!("{APP}/echo/a")).await.problem(404), "not_found", "not enabled there");
    for unknown in ["/echo", "/echo/", "/echo/a/b", "//echo/a", "/nothing", "/notes"] {
        assert_eq!(ada.get(&format!("{APP}{unknown}")).await.problem(404), "not_found", "{unknown}");
    }
    ada.delete("/api/v1/installations/probe").await.expect(204);
    assert_eq!(ada.get(&format!("{APP}/echo/a")).await.problem(404), "not_found", "not enabled any more");
}

#[db_test]
async fn a_plugin_does_for_a_caller_no_more_than_both_may(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["probe"]).await;
    let ada = host.tenant("acme").await;
    let consent = json!({ "plugin": "probe", "grants": ["probe.effects:*", "users:read"] });
    ada.post("/api/v1/installations", &consent).await.expect(201);
    // The caller may create notes; the plugin was not granted that.
    assert_eq!(ada.post(&format!("{APP}/notes"), &json!({ "text": "a" })).await.problem(403), "not_granted");
    // The plugin was granted to look people up; the caller may not.
    let role = ada.post("/api/v1/roles", &json!({ "name": "breaker" })).await.expect(201);
    let role = format!("/api/v1/roles/{}", role["id"].as_str().unwrap());
    let tools = json!({ "permission": "probe.tools:use" });
    ada.post(&format!("{role}/permissions"), &tools).await.expect(201);
    let eve = host.member(&ada, "eve@acme.example", &["breaker"]).await;
    assert_eq!(eve.get(&format!("{APP}/break/users")).await.problem(403), "forbidden");
    assert_eq!(ada.get(&format!("{APP}/break/users")).await.problem(404), "not_found", "both may; nobody is there");
}

#[db_test]
async fn a_request_that_is_repeated_under_its_key_is_answered_as_before(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let ask = async |text: &str| {
        let request = ada.request(Method::POST, &format!("{APP}/notes")).header("idempotency-key", "key-1");
        let answer = request.json(&json!({ "text": text })).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.bytes().await.unwrap())
    };
    let (status, first, body) = ask("a").await;
    assert_eq!((status, body.as_ref()), (201, [0xff, 0x00, 0xfe].as_slice()));
    let (status, second, body) = ask("a").await;
    assert_eq!((status, body.as_ref()), (201, [0xff, 0x00, 0xfe].as_slice()));
    assert_eq!((&second["x-note"], &second["idempotency-replayed"]), (&first["x-note"], &"true".parse().unwrap()));
    assert_eq!(ask("b").await.0, 422, "another request under the same key");
    assert_eq!(notes(&ada).await.len(), 1);
    ada.delete("/api/v1/installations/probe").await.expect(204);
    assert_eq!(ask("a").await.0, 404, "nothing is told again that would not be answered any more");
}

#[db_test]
async fn a_hundred_requests_that_count_at_once_count_to_a_hundred(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let counter = format!("{APP}/counters/a");
    ada.post(&counter, &json!({})).await.expect(200);
    let mut counted = 0;
    let mut left = 99;
    // Whoever lost too many races is told so, and asks again.
    for _ in 0..100 {
        let asked = (0..left.min(10)).map(|_| ada.post(&counter, &Value::Null));
        for answer in futures_util::future::join_all(asked).await {
            assert!(matches!(answer.status, 200 | 409), "{}", answer.body);
            if answer.status == 200 {
                counted += 1;
                left -= 1;
            }
        }
        if left == 0 {
            break;
        }
    }
    assert_eq!(counted, 99);
    let row = ada.rows("/api/v1/apps/probe/effects").await.remove(0);
    assert_eq!(row["data"]["n"], 100);
}
