//! What every resource does alike.

use std::io::Read;

use purlin_test_macros::db_test;
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Database, Host, Options};

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("no {name}: {headers:?}")).to_str().unwrap()
}

#[db_test]
async fn who_has_the_current_version_already_gets_304_and_who_changes_an_old_one_gets_412(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let role = ada.post("/api/v1/roles", &json!({ "name": "ops" })).await;
    let role = header(&role.headers, "location").to_owned();
    let user = ada.post("/api/v1/users", &json!({ "email": "bob@acme.example" })).await;
    let user = header(&user.headers, "location").to_owned();
    let item = ada.post("/api/v1/apps/inventory/items", &json!({ "sku": "A", "name": "x" })).await;
    let item = header(&item.headers, "location").to_owned();
    let me = "/api/v1/tenants/me".to_owned();
    for (path, change) in [
        (&role, json!({ "description": "who operates" })),
        (&user, json!({ "first_name": "Bob" })),
        (&item, json!({ "name": "y" })),
        (&me, json!({ "name": "Acme & Co" })),
    ] {
        let first = ada.get(path).await;
        let old = header(&first.headers, "etag").to_owned();
        let known = ada.send(ada.request(Method::GET, path).header("if-none-match", format!("\"x\", W/{old}"))).await;
        assert_eq!((known.status, header(&known.headers, "etag")), (304, old.as_str()), "{path}");
        let patch = |tag: &str| ada.request(Method::PATCH, path).header("if-match", tag).json(&change);
        let changed = ada.send(patch(&old)).await;
        let new = header(&changed.headers, "etag").to_owned();
        assert_ne!(old, new, "{path}");
        changed.expect(200);
        assert_eq!(ada.send(patch(&old)).await.problem(412), "precondition_failed", "{path}");
        assert_eq!(ada.send(patch("\"nonsense\"")).await.problem(412), "precondition_failed", "{path}");
        ada.send(ada.request(Method::GET, path).header("if-none-match", &old)).await.expect(200);
        assert_eq!(header(&ada.get(path).await.headers, "etag"), new, "what was answered is what is read");
    }
    let delete = ada.request(Method::DELETE, &role).header("if-match", "\"t0-0\"");
    assert_eq!(ada.send(delete).await.problem(412), "precondition_failed");
    ada.delete(&role).await.expect(204);
}

async fn keyed(client: &Client, method: Method, path: &str, key: &str, body: &Value) -> Answer {
    client.send(client.request(method, path).header("idempotency-key", key).json(body)).await
}

#[db_test]
async fn a_request_that_names_a_key_is_done_once_however_often_it_comes(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let cases = [
        ("/api/v1/users", json!({ "email": "bob@acme.example" })),
        ("/api/v1/roles", json!({ "name": "ops", "permissions": ["jobs:read"] })),
        ("/api/v1/api-keys", json!({ "name": "ci", "scopes": ["jobs:read"] })),
        ("/api/v1/apps/inventory/items", json!({ "sku": "A", "name": "x" })),
        ("/api/v1/jobs", json!({ "kind": "inventory.valuation" })),
        ("/api/v1/invitations", json!({ "email": "eve@acme.example" })),
    ];
    for (i, (path, body)) in cases.iter().enumerate() {
        let key = format!("key-{i}");
        let first = keyed(&ada, Method::POST, path, &key, body).await;
        let again = keyed(&ada, Method::POST, path, &key, body).await;
        assert!(first.headers.get("idempotency-replayed").is_none());
        assert_eq!(header(&again.headers, "idempotency-replayed"), "true", "{path}");
        assert_eq!((first.status, &first.body), (again.status, &again.body), "{path}");
        assert_eq!(first.headers.get("etag"), again.headers.get("etag"), "{path}");
        if first.status == 201 {
            assert_eq!(header(&first.headers, "location"), header(&again.headers, "location"), "{path}");
        }
        let mut other = body.clone();
        other["extra"] = json!(1);
        assert_eq!(
            keyed(&ada, Method::POST, path, &key, &other).await.problem(422),
            "idempotency_key_reused",
            "{path}"
        );
    }
    assert_eq!(ada.rows("/api/v1/users").await.len(), 2);
    assert_eq!(ada.rows("/api/v1/apps/inventory/items").await.len(), 1);
    // A deletion and a change, too; and a refusal is not kept.
    let item = ada.rows("/api/v1/apps/inventory/items").await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/apps/inventory/items/{item}");
    for _ in 0..2 {
        keyed(&ada, Method::PATCH, &path, "patch", &json!({ "stock": 7 })).await.expect(200);
    }
    assert_eq!(ada.get(&path).await.expect(200)["version"], 2);
    for _ in 0..2 {
        keyed(&ada, Method::DELETE, &path, "delete", &json!({})).await.expect(204);
    }
    assert_eq!(keyed(&ada, Method::POST, "/api/v1/users", "refused", &json!({ "email": "no" })).await.status, 422);
    keyed(&ada, Method::POST, "/api/v1/users", "refused", &json!({ "email": "yes@acme.example" })).await.expect(201);
    assert_eq!(keyed(&ada, Method::POST, "/api/v1/users", "", &json!({})).await.problem(400), "idempotency_key");
    // Somebody else's key of the same name is another key.
    let bob = host.member(&ada, "carol@acme.example", &["admin"]).await;
    let own = keyed(&bob, Method::POST, "/api/v1/roles", "key-1", &json!({ "name": "other" })).await;
    assert!(own.headers.get("idempotency-replayed").is_none());
    own.expect(201);
}

#[db_test]
async fn of_many_repetitions_at_once_one_has_an_effect_and_all_get_its_answer(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let tries = (0..10).map(|_| {
        let ada = ada.clone();
        let body = json!({ "email": "bob@acme.example" });
        tokio::spawn(async move { keyed(&ada, Method::POST, "/api/v1/users", "once", &body).await })
    });
    let mut answers = Vec::new();
    for each in tries.collect::<Vec<_>>() {
        let answer = each.await.unwrap();
        // One that meets the first while it is under way may find the address taken.
        if answer.status == 409 {
            assert_eq!(answer.body["code"], "email_taken");
            continue;
        }
        answers.push(answer.expect(201)["id"].clone());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(ada.rows("/api/v1/users").await.len(), 2);
    keyed(&ada, Method::POST, "/api/v1/users", "once", &json!({ "email": "bob@acme.example" })).await.expect(201);
}

#[db_test]
async fn lists_page_both_ways_count_and_search(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for n in 0..24 {
        let name = if n % 3 == 0 { Value::Null } else { json!(format!("N{}", n % 4)) };
        ada.post("/api/v1/users", &json!({ "email": format!("u{n:02}@acme.example"), "first_name": name }))
            .await
            .expect(201);
    }
    let ids = |page: &Value| page["data"].as_array().unwrap().iter().map(|r| r["id"].clone()).collect::<Vec<_>>();
    for sort in ["email", "-first_name,email", "first_name", "-created_at"] {
        let (mut forward, mut pages, mut after) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = ada.get(&format!("/api/v1/users?sort={sort}&page[size]=7{after}")).await.expect(200);
            assert_eq!(page["page"]["prev"].is_null(), pages.is_empty(), "{sort}");
            forward.extend(ids(&page));
            pages.push(page.clone());
            match page["page"]["next"].as_str() {
                Some(next) => after = format!("&page[after]={next}"),
                None => break,
            }
        }
        assert_eq!((forward.len(), pages.len()), (25, 4), "{sort}");
        let mut back = pages[3].clone();
        for expected in pages[..3].iter().rev() {
            let prev = back["page"]["prev"].as_str().unwrap();
            back = ada.get(&format!("/api/v1/users?sort={sort}&page[size]=7&page[before]={prev}")).await.expect(200);
            assert_eq!(ids(&back), ids(expected), "{sort}");
        }
        assert!(back["page"]["prev"].is_null() && back["page"]["next"].is_string());
    }
    let count = ada
        .request(Method::GET, "/api/v1/users?filter[first_name][null]=true&page[size]=2")
        .header("prefer", "count=exact");
    assert_eq!(ada.send(count).await.expect(200)["page"]["total"], 9);
    assert!(ada.get("/api/v1/users").await.expect(200)["page"].get("total").is_none());
    let search = json!({
        "filter": { "or": [
            { "field": "email", "op": "in", "value": ["u00@acme.example", "u01@acme.example"] },
            { "not": { "field": "email", "op": "like", "value": "u*" } },
        ] },
        "sort": ["email"], "page": { "size": 2 },
    });
    let found = ada.post("/api/v1/users/search", &search).await.expect(200);
    let emails: Vec<&Value> = found["data"].as_array().unwrap().iter().map(|r| &r["email"]).collect();
    assert_eq!(emails, ["admin@acme.example", "u00@acme.example"]);
    let mut rest = search.clone();
    rest["page"]["after"] = found["page"]["next"].clone();
    assert_eq!(ada.post("/api/v1/users/search", &rest).await.expect(200)["data"][0]["email"], "u01@acme.example");
    let body = ada
        .post("/api/v1/users/search", &json!({ "filter": { "field": "password_hash", "op": "like", "value": "*" } }))
        .await;
    assert_eq!(body.body["errors"][0]["pointer"], "/filter/field");
    assert_eq!(body.problem(422), "invalid");
    let both = ada.get("/api/v1/users?page[after]=x&page[before]=y").await;
    assert_eq!(both.problem(400), "bad_parameter");
}

#[db_test]
async fn answers_are_compressed_and_pages_of_chosen_origins_may_call(database: Database) {
    let options = Options::default().set("PURLIN_CORS_ORIGINS", "https://app.example, https://other.example");
    let host = Host::start_with(database, options).await;
    let ada = host.tenant("acme").await;
    let small = ada.send(ada.request(Method::GET, "/openapi.json")).await;
    for (encoding, decode) in [("gzip", true), ("br", false)] {
        let request = ada.request(Method::GET, "/openapi.json").header("accept-encoding", encoding);
        let response = request.send().await.unwrap();
        assert_eq!(header(response.headers(), "content-encoding"), encoding);
        let bytes = response.bytes().await.unwrap();
        assert!(bytes.len() * 4 < small.body.to_string().len(), "{} bytes", bytes.len());
        if decode {
            let mut text = String::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), small.body);
        }
    }
    let preflight = |origin: &str| {
        ada.request(Method::OPTIONS, "/api/v1/users")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,idempotency-key")
    };
    let allowed = ada.send(preflight("https://app.example")).await;
    assert_eq!(header(&allowed.headers, "access-control-allow-origin"), "https://app.example");
    let refused = ada.send(preflight("https://evil.example")).await;
    assert!(refused.headers.get("access-control-allow-origin").is_none());
}

#[db_test]
async fn a_request_id_is_taken_if_it_is_well_formed_and_made_otherwise(database: Database) {
    let host = Host::start(database).await;
    let nobody = host.anonymous();
    let ask = async |id: &str| nobody.send(nobody.request(Method::GET, "/health").header("x-request-id", id)).await;
    assert_eq!(header(&ask("request-42").await.headers, "x-request-id"), "request-42");
    for bad in ["short", "with spaces in it", "x".repeat(200).as_str(), "<script>alert"] {
        assert_ne!(header(&ask(bad).await.headers, "x-request-id"), bad);
    }
}

#[db_test]
async fn the_document_describes_every_operation_with_examples_and_can_be_browsed_offline(database: Database) {
    let host = Host::start(database).await;
    let nobody = host.anonymous();
    let document = nobody.get("/openapi.json").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    let mut count = 0;
    for operation in purlin_api::operations() {
        if operation.path.starts_with("/docs") {
            continue;
        }
        let described = &document["paths"][operation.path.replace("{*", "{")][operation.method.as_str().to_lowercase()];
        assert_eq!(described["summary"], operation.summary, "{} {}", operation.method, operation.path);
        if let Some(content) = described["requestBody"]["content"].get("application/json") {
            assert!(content.get("example").is_some(), "{} {}", operation.method, operation.path);
        }
        count += 1;
    }
    assert!(count > 80, "{count}");
    let text = document.to_string();
    for target in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = target.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is not there");
    }
    assert!(!text.contains("password_hash") && !text.contains("key_hash"), "what is never shown is not described");
    let page = nobody.get("/docs/").await;
    assert!(page.body.as_str().unwrap().contains("swagger-ui"));
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js", "swagger-ui-standalone-preset.js"]
    {
        let answer = nobody.get(&format!("/docs/{file}")).await;
        assert_eq!(answer.status, 200, "{file}");
        assert!(header(&answer.headers, "content-security-policy").starts_with("default-src 'self'"));
    }
    assert_eq!(nobody.get("/docs/nothing.js").await.problem(404), "not_found");
    assert!(!page.body.as_str().unwrap().contains("http"), "nothing comes from elsewhere");
}

#[db_test]
async fn a_body_that_is_too_large_or_of_another_kind_is_refused(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let large = json!({ "name": "x".repeat(2 << 20) });
    for key in [None, Some("k")] {
        let request = ada.request(Method::POST, "/api/v1/roles").json(&large);
        let request = key
            .map_or(ada.request(Method::POST, "/api/v1/roles").json(&large), |k| request.header("idempotency-key", k));
        assert_eq!(ada.send(request).await.problem(413), "too_large");
    }
    let text = ada.request(Method::POST, "/api/v1/roles").header("content-type", "text/plain").body("x");
    assert_eq!(ada.send(text).await.problem(415), "media_type");
    let broken = ada.request(Method::POST, "/api/v1/roles").header("content-type", "application/json").body("{");
    assert_eq!(ada.send(broken).await.problem(400), "json");
    assert_eq!(ada.send(ada.request(Method::PUT, "/api/v1/roles")).await.problem(405), "method_not_allowed");
    let many = (0..200).fold(ada.request(Method::GET, "/health"), |request, n| request.header(format!("x-{n}"), "1"));
    assert_eq!(many.send().await.unwrap().status(), 431);
}
