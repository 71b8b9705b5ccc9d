//! What comes in over HTTP: its form, its media type, its size, and what is told of its faults.

use std::time::Duration;

use futures_util::StreamExt;
use purlin_test_macros::db_test;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Client, Database, Host, Options};

/// Send these bytes; the status line and the headers of the answer, and its body.
async fn raw(host: &Host, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(host.base.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn body(client: &Client, method: Method, path: &str, media_type: &str, text: &str) -> crate::support::Answer {
    client.send(client.request(method, path).header("content-type", media_type).body(text.to_owned())).await
}

#[db_test]
async fn every_fault_of_a_body_is_told_in_the_words_of_the_api(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let wrong = json!({ "email": 5, "role_ids": ["nonsense"], "rolez": [] });
    let answer = ada.post("/api/v1/users", &wrong).await;
    let errors = answer.body["errors"].as_array().unwrap().clone();
    let pointers: Vec<&str> = errors.iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(answer.status, 422);
    for pointer in ["/email", "/role_ids/0", "/rolez"] {
        assert!(pointers.contains(&pointer), "{pointer}: {errors:#?}");
    }
    let detail = errors.iter().find(|e| e["pointer"] == "/email").unwrap()["detail"].as_str().unwrap();
    assert_eq!(detail, "expected a string");
    let missing = ada.post("/api/v1/users", &json!({})).await;
    assert_eq!((missing.status, &missing.body["errors"][0]["pointer"]), (422, &json!("/email")));
    // What is listed is told.
    let pause = ada.post("/api/v1/job-pauses", &json!({ "queue": "*" })).await;
    assert_eq!(pause.body["errors"][0]["detail"], r#"expected one of "high", "default", "low""#);
    ada.post("/api/v1/users", &json!({ "email": "bob@acme.example" })).await.expect(201);
}

#[db_test]
async fn a_fault_does_not_repeat_a_large_value(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let large = "x".repeat(800_000);
    let plain = ada.post("/api/v1/users", &json!({ "email": large })).await;
    let record = ada.post("/api/v1/apps/probe/values", &json!({ "n": large })).await;
    for answer in [plain, record] {
        assert_eq!(answer.status, 422);
        assert!(answer.body.to_string().len() < 2_000, "{}", answer.body.to_string().len());
    }
}

#[db_test]
async fn a_body_is_plain_json_by_its_name(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let (path, text) = ("/api/v1/users/me", r#"{"first_name":"Ada"}"#);
    for good in ["application/json", "application/json; charset=UTF-8", "application/merge-patch+json"] {
        body(&ada, Method::PATCH, path, good, text).await.expect(200);
    }
    for bad in
        ["text/plain", "application/vnd.api+json", "application/json-patch+json", "application/json; charset=latin1"]
    {
        let answer = body(&ada, Method::PATCH, path, bad, text).await;
        assert_eq!(answer.headers["accept-patch"], "application/merge-patch+json", "{bad}");
        assert_eq!(answer.problem(415), "media_type", "{bad}");
    }
    let role = r#"{"name":"clerk"}"#;
    assert_eq!(body(&ada, Method::POST, "/api/v1/roles", "application/merge-patch+json", role).await.status, 415);
    body(&ada, Method::POST, "/api/v1/roles", "application/json", role).await.expect(201);
    let zipped = ada.request(Method::POST, "/api/v1/roles").header("content-encoding", "gzip").json(&json!({}));
    let zipped = ada.send(zipped).await;
    assert_eq!(zipped.headers["accept-encoding"], "identity");
    assert_eq!(zipped.problem(415), "content_coding");
}

#[db_test]
async fn a_path_that_is_no_text_is_answered_like_any_other(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for path in ["/api/v1/users/%FF", "/api/v1/users/%00", "/api/v1/apps/%FF/items"] {
        assert_eq!(host.anonymous().get(path).await.problem(401), "unauthenticated", "{path}");
        assert_eq!(ada.get(path).await.problem(404), "not_found", "{path}");
    }
    for query in ["filter[email]=%00", "filter[email][like]=%00*", "q=%00"] {
        assert_eq!(ada.get(&format!("/api/v1/users?{query}")).await.status, 400, "{query}");
    }
    let nul = ada.post("/api/v1/roles", &json!({ "name": "a\u{0}b" })).await;
    assert_eq!((nul.status, &nul.body["errors"][0]["pointer"]), (422, &json!("/name")));
}

#[db_test]
async fn a_head_request_asks_what_a_get_request_does(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let tag = ada.get("/api/v1/users/me").await.headers["etag"].clone();
    for method in [Method::GET, Method::HEAD] {
        let asked = ada.request(method.clone(), "/api/v1/users/me").header("if-none-match", &tag);
        assert_eq!(ada.send(asked).await.status, StatusCode::NOT_MODIFIED, "{method}");
        let other = ada.request(method.clone(), "/api/v1/users/me").header("if-none-match", "\"other\"");
        assert_eq!(ada.send(other).await.status, StatusCode::OK, "{method}");
    }
}

#[db_test]
async fn a_request_names_one_host(database: Database) {
    let host = Host::start(database).await;
    let one = raw(&host, b"GET /health/live HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").await;
    assert!(!one.starts_with("HTTP/1.1 400"), "{one}");
    for hosts in ["host: a.example\r\nhost: b.example\r\n", ""] {
        let request = format!("GET /api/v1/users/me HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let answer = raw(&host, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(r#""code":"host""#), "{answer}");
    }
}

#[db_test]
async fn an_answer_to_a_change_is_kept_by_no_cache(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery" });
    for answer in
        [host.anonymous().post("/api/v1/auth/login", &login).await, ada.post("/api/v1/roles", &json!({})).await]
    {
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
}

#[db_test]
async fn a_page_of_another_origin_sends_and_reads_the_headers_that_it_needs(database: Database) {
    let options = Options::default().set("PURLIN_CORS_ORIGINS", "https://app.example");
    let host = Host::start_with(database, options).await;
    let client = host.anonymous();
    let asked = client
        .request(Method::OPTIONS, "/api/v1/events/stream")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization,last-event-id,x-shop");
    let answer = client.send(asked).await;
    let allowed = answer.headers["access-control-allow-headers"].to_str().unwrap().to_lowercase();
    for name in ["authorization", "last-event-id", "x-shop"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    let answer = client.send(client.request(Method::GET, "/health/live").header("origin", "https://app.example")).await;
    let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap().to_lowercase();
    for name in ["content-disposition", "www-authenticate", "etag", "retry-after", "*"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    let other = client.send(client.request(Method::GET, "/health/live").header("origin", "https://evil.example")).await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
}

#[db_test]
async fn a_stream_says_where_it_begins_before_the_first_event(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let first = async |after: Option<&str>| -> (Vec<u8>, reqwest::header::HeaderMap) {
        let request = ada.request(Method::GET, "/api/v1/events/stream?type=role.*");
        let request = after.iter().fold(request, |request, id| request.header("last-event-id", *id));
        let mut answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        let chunk = tokio::time::timeout(Duration::from_secs(5), answer.chunk()).await.unwrap().unwrap().unwrap();
        (chunk.to_vec(), headers)
    };
    let (told, headers) = first(None).await;
    assert_eq!(headers["x-accel-buffering"], "no");
    let told = String::from_utf8(told).unwrap();
    let id =
        told.lines().find_map(|line| line.strip_prefix("id: ").or(line.strip_prefix("id:"))).unwrap().trim().to_owned();
    // What is published while nobody listens is made up for.
    ada.post("/api/v1/roles", &json!({ "name": "clerk" })).await.expect(201);
    let request = ada.request(Method::GET, "/api/v1/events/stream?type=role.*").header("last-event-id", &id);
    let mut answer = request.send().await.unwrap();
    let mut text = String::new();
    while !text.contains("role.created") {
        let chunk = tokio::time::timeout(Duration::from_secs(10), answer.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains(r#""dataschema":"http://"#), "{text}");
}

#[db_test]
async fn an_address_that_a_proxy_tells_is_read_with_or_without_its_port(database: Database) {
    let options = Options::default().set("PURLIN_TRUSTED_PROXIES", "127.0.0.0/8");
    let host = Host::start_with(database, options).await;
    let ada = host.tenant("acme").await;
    let told = ["198.51.100.1", "198.51.100.2:4711", "[2001:db8::1]", "[2001:db8::2]:4711", "2001:db8::3"];
    for (n, address) in told.iter().enumerate() {
        let role = ada.request(Method::POST, "/api/v1/roles").header("x-forwarded-for", *address);
        ada.send(role.json(&json!({ "name": format!("role {n}") }))).await.expect(201);
    }
    let rows = ada.rows("/api/v1/audit-logs?filter[action]=role.created&sort=created_at").await;
    let found: Vec<&Value> = rows.iter().map(|row| &row["ip"]).collect();
    assert_eq!(found, ["198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2", "2001:db8::3"]);
}

#[db_test]
async fn nothing_that_is_asked_for_is_repeated_at_length_or_stored_with_a_nul(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    for path in ["items?q=%00", "items?q=a%00b", "items?filter[name]=%00", "items?filter[name][ilike]=%00"] {
        assert_eq!(ada.get(&format!("/api/v1/apps/inventory/{path}")).await.problem(400), "bad_parameter", "{path}");
    }
    let long = "x".repeat(300_000);
    for filter in [
        json!({ "field": "stock", "op": "eq", "value": long }),
        json!({ "field": "created_at", "op": "eq", "value": long }),
        json!({ "field": "id", "op": "eq", "value": long }),
        json!({ "field": long, "op": "eq", "value": 1 }),
        json!({ "field": "stock", "op": long, "value": 1 }),
    ] {
        let answer = ada.post("/api/v1/apps/inventory/items/search", &json!({ "filter": filter })).await;
        let told = answer.expect(422).to_string();
        assert!(told.len() < 5_000, "{} bytes", told.len());
    }
    let roles = json!({ "name": "x", "permissions": [long] });
    assert!(ada.post("/api/v1/roles", &roles).await.expect(422).to_string().len() < 5_000);
}

#[db_test]
async fn a_place_of_a_stream_tells_nothing_of_others_and_is_good_for_nobody_else(database: Database) {
    let host = Host::start(database).await;
    let (ada, eve) = (host.tenant("acme").await, host.tenant("evil").await);
    let first = async |client: &crate::support::Client| {
        let response = client.request(Method::GET, "/api/v1/events/stream").send().await.unwrap();
        let mut bytes = response.bytes_stream();
        let chunk = bytes.next().await.unwrap().unwrap();
        String::from_utf8_lossy(&chunk).trim().strip_prefix("id: ").unwrap().to_owned()
    };
    let (own, theirs) = (first(&ada).await, first(&eve).await);
    let position = |id: &str| u64::from_str_radix(&id[..16], 16).unwrap();
    assert!(position(&own).abs_diff(position(&theirs)) > 1 << 20, "{own} {theirs}");
    let status = async |client: &crate::support::Client, id: &str| {
        let request = client.request(Method::GET, "/api/v1/events/stream").header("last-event-id", id);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(&ada, &own).await, status(&eve, &theirs).await), (200, 200));
    assert_eq!((status(&eve, &own).await, status(&ada, &theirs).await), (400, 400));
    for bad in ["0-0", "x", "0000000000000000deadbeef-00000000000000000000000000000000"] {
        assert_eq!(status(&ada, bad).await, 400, "{bad}");
    }
}
