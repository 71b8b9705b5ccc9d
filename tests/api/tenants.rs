use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host, Options};

#[db_test]
async fn an_administrator_changes_the_tenant(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let change =
        json!({ "name": "Acme & Co", "domain": "Acme.example", "settings": { "currency": "EUR", "theme": "dark" } });
    let tenant = ada.patch("/api/v1/tenants/me", &change).await.expect(200);
    assert_eq!(tenant["domain"], "acme.example");
    let tenant = ada.patch("/api/v1/tenants/me", &json!({ "settings": { "theme": null } })).await.expect(200);
    assert_eq!(tenant["settings"], json!({ "currency": "EUR", "locale": "en", "time_zone": "UTC" }));
    assert_eq!(ada.get("/api/v1/tenants/me").await.expect(200)["name"], "Acme & Co");
    assert_eq!(ada.rows("/api/v1/audit-logs?filter[action]=tenant.updated").await.len(), 2);
}

#[db_test]
async fn a_domain_belongs_to_one_tenant(database: Database) {
    let host = Host::start(database).await;
    let domain = json!({ "domain": "shop.example" });
    host.tenant("acme").await.patch("/api/v1/tenants/me", &domain).await.expect(200);
    let bob = host.tenant("bolts").await;
    assert_eq!(bob.patch("/api/v1/tenants/me", &domain).await.problem(409), "domain_taken");
    let body = bob.patch("/api/v1/tenants/me", &json!({ "domain": "no host", "settings": [] })).await.expect(422);
    assert_eq!(body["errors"].as_array().unwrap().len(), 2);
}

#[db_test]
async fn settings_are_held_against_their_schema(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for (settings, pointer) in [
        (json!({ "locale": "English" }), "/settings/locale"),
        (json!({ "currency": "Euro" }), "/settings/currency"),
        (json!({ "mail_sender_name": "x\r\nBcc: all@acme.example" }), "/settings/mail_sender_name"),
        (json!({ "Not A Name": 1 }), "/settings"),
    ] {
        let body = ada.patch("/api/v1/tenants/me", &json!({ "settings": settings })).await.expect(422);
        assert_eq!(body["errors"][0]["pointer"], pointer);
    }
    ada.patch("/api/v1/tenants/me", &json!({ "settings": { "locale": "fr-CA", "mail_sender_name": "Acme Mails" } }))
        .await
        .expect(200);
    let schema = ada.get("/api/v1/tenants/settings-schema").await.expect(200);
    assert_eq!(schema["properties"]["currency"]["pattern"], "^[A-Z]{3}$");
}

#[db_test]
async fn whoever_runs_the_platform_sees_suspends_and_serves_tenants(database: Database) {
    let host = Host::start(database).await;
    let (ada, bob) = (host.tenant("acme").await, host.tenant("bolts").await);
    let operator = host.operator().await;
    let slugs: Vec<_> = operator.rows("/api/v1/tenants?sort=slug").await.iter().map(|t| t["slug"].clone()).collect();
    assert_eq!(slugs, ["acme", "bolts", "operators"]);
    assert_eq!(ada.get("/api/v1/tenants").await.problem(403), "forbidden");
    let path = format!("/api/v1/tenants/{}", bob.me["tenant"]["id"].as_str().unwrap());
    let key = bob.post("/api/v1/api-keys", &json!({ "name": "ci", "scopes": ["users:read"] })).await.expect(201);
    let key = bob.with_token(key["key"].as_str().unwrap());
    for client in [&bob, &key] {
        client.get("/api/v1/users").await.expect(200);
    }
    assert_eq!(operator.post(&format!("{path}/suspend"), &json!({})).await.expect(200)["status"], "suspended");
    for client in [&bob, &key] {
        assert_eq!(client.get("/api/v1/users").await.problem(401), "unauthenticated");
    }
    let refresh = json!({ "refresh_token": bob.me["refresh_token"] });
    assert_eq!(bob.post("/api/v1/auth/refresh", &refresh).await.problem(401), "unauthenticated");
    ada.get("/api/v1/users").await.expect(200);
    assert_eq!(operator.post(&format!("{path}/activate"), &json!({})).await.expect(200)["status"], "active");
    bob.get("/api/v1/users").await.expect(200);
    let told =
        bob.rows("/api/v1/audit-logs?filter[action][in]=tenant.suspended,tenant.activated&sort=created_at").await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["actor"], operator.me["user"]["id"]);
    let own = format!("/api/v1/tenants/{}/suspend", operator.me["tenant"]["id"].as_str().unwrap());
    assert_eq!(operator.post(&own, &json!({})).await.problem(409), "own_tenant");
    let nobody = "/api/v1/tenants/01930000-0000-7000-8000-000000000000/suspend";
    assert_eq!(operator.post(nobody, &json!({})).await.problem(404), "not_found");
}

#[db_test]
async fn what_runs_for_a_tenant_stops_when_it_is_suspended_and_goes_on_when_it_is_served_again(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.post("/api/v1/jobs", &json!({ "kind": "probe.wait" })).await.expect(202);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    while ada.get(&path).await.expect(200)["state"] != "running" {}
    let id = ada.me["tenant"]["id"].as_str().unwrap();
    let operator = host.operator().await;
    operator.post(&format!("/api/v1/tenants/{id}/suspend"), &json!({})).await.expect(200);
    let mut stopped = false;
    for _ in 0..20 {
        stopped = host.log().contains("stopped: its tenant was suspended");
        if stopped {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(stopped, "within a second");
    operator.post(&format!("/api/v1/tenants/{id}/activate"), &json!({})).await.expect(200);
    while ada.get(&path).await.expect(200)["state"] != "running" {}
    let job = ada.get(&path).await.expect(200);
    assert_eq!((&job["attempt"], &job["crashes"]), (&json!(1), &json!(0)), "being stopped was no attempt");
}

#[db_test]
async fn a_plan_has_ceilings_that_hold_and_can_be_read(database: Database) {
    let plans = json!({
        "standard": { "users_max": 2, "plugins_max": 1, "storage_bytes_max": 300, "invocations_per_minute_max": 3, "audit_days": 30 },
        "large": {},
        "readers": { "permissions": ["*:read", "users:*"] },
    });
    let host = Host::start_with(database, Options::default().set("PURLIN_PLANS", plans)).await;
    host.upload(&["inventory", "probe"]).await;
    let ada = host.tenant("acme").await;
    let user = |n: u32| json!({ "email": format!("u{n}@acme.example") });
    ada.post("/api/v1/users", &user(1)).await.expect(201);
    assert_eq!(ada.post("/api/v1/users", &user(2)).await.problem(403), "plan_limit");
    ada.enable("probe").await;
    let second = json!({ "plugin": "inventory", "grants": "all" });
    assert_eq!(ada.post("/api/v1/installations", &second).await.problem(403), "plan_limit");
    let note = |letter: &str, bytes: usize| json!({ "text": letter.repeat(bytes) });
    let id = ada.create("probe/notes", note("a", 200)).await;
    let body = ada.post("/api/v1/apps/probe/notes", &note("b", 200)).await.expect(422);
    assert_eq!((&body["code"], &body["detail"]), (&json!("limit"), &json!("limit: storage")));
    ada.patch(&format!("/api/v1/apps/probe/notes/{id}"), &note("a", 10)).await.expect(200);
    ada.create("probe/notes", note("c", 200)).await;
    let usage = ada.get("/api/v1/tenants/me/usage").await.expect(200);
    assert_eq!(usage["users"], json!({ "used": 2, "max": 2 }));
    assert_eq!(usage["plugins"], json!({ "used": 1, "max": 1 }));
    assert_eq!(usage["storage_bytes"]["max"], 300);
    assert!((200..300).contains(&usage["storage_bytes"]["used"].as_i64().unwrap()), "{usage}");
    let operator = host.operator().await;
    let path = format!("/api/v1/tenants/{}", ada.me["tenant"]["id"].as_str().unwrap());
    assert_eq!(operator.patch(&path, &json!({ "plan": "golden" })).await.problem(422), "invalid");
    operator.patch(&path, &json!({ "plan": "large" })).await.expect(200);
    ada.post("/api/v1/users", &user(2)).await.expect(201);
    assert_eq!(ada.get("/api/v1/tenants/me/usage").await.expect(200)["users"], json!({ "used": 3, "max": null }));
    // A plan cuts what roles say.
    operator.patch(&path, &json!({ "plan": "readers" })).await.expect(200);
    ada.get("/api/v1/roles").await.expect(200);
    assert_eq!(ada.post("/api/v1/roles", &json!({ "name": "x" })).await.problem(403), "forbidden");
}

#[db_test]
async fn invocations_beyond_the_plan_wait_for_the_next_minute(database: Database) {
    let plans = json!({ "standard": { "invocations_per_minute_max": 3 }, "large": {} });
    let host = Host::start_with(database, Options::default().set("PURLIN_PLANS", plans)).await;
    let ada = host.tenant_with("acme", "probe").await;
    for _ in 0..6 {
        ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo" })).await.expect(202);
    }
    let done = async || ada.rows("/api/v1/jobs?filter[kind]=probe.echo&filter[state]=succeeded").await.len();
    while done().await < 3 {}
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(done().await, 3);
    let waiting = ada.rows("/api/v1/jobs?filter[kind]=probe.echo&filter[state][in]=ready,scheduled&sort=id").await;
    assert_eq!(waiting.len(), 3);
    assert!(waiting.iter().all(|job| job["attempt"] == 0), "{waiting:#?}");
    // What was not claimed before the third ran stays where it was.
    let last = &waiting[2];
    let why = ada.get(&format!("/api/v1/jobs/{}/why", last["id"].as_str().unwrap())).await.expect(200);
    assert!(why["code"] == "plan" || why["code"] == "scheduled", "{why}");
}

#[db_test]
async fn a_tenant_is_signed_in_to_by_the_host_name_it_is_reached_by(database: Database) {
    let host = Host::start(database).await;
    let (ada, bob) = (host.tenant("acme").await, host.tenant("bolts").await);
    bob.patch("/api/v1/tenants/me", &json!({ "domain": "bolts.example" })).await.expect(200);
    host.member(&bob, "admin@acme.example", &[]).await;
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery" });
    let at = async |name: &str| {
        let request = ada.request(reqwest::Method::POST, "/api/v1/auth/login").header("host", name).json(&login);
        ada.send(request).await.expect(200)["tenant"]["slug"].clone()
    };
    // Anybody may claim a host name: it counts once whoever runs the platform approved it.
    assert_eq!(at("Bolts.example:443").await, "acme");
    let approve = format!("/api/v1/tenants/{}/approve-domain", bob.me["tenant"]["id"].as_str().unwrap());
    assert_eq!(bob.post(&approve, &json!({ "domain": "bolts.example" })).await.problem(403), "forbidden");
    let operator = host.operator().await;
    assert_eq!(operator.post(&approve, &json!({ "domain": "other.example" })).await.problem(422), "invalid");
    let approved = operator.post(&approve, &json!({ "domain": "bolts.example" })).await.expect(200);
    assert!(approved["domain_approved_at"].is_string());
    assert_eq!(at("Bolts.example:443").await, "bolts");
    let claim = |domain: &'static str| json!({ "domain": domain });
    bob.patch("/api/v1/tenants/me", &claim("other.example")).await.expect(200);
    bob.patch("/api/v1/tenants/me", &claim("bolts.example")).await.expect(200);
    assert_eq!(at("Bolts.example:443").await, "acme", "what changed is approved anew");
    assert_eq!(at("unknown.example").await, "acme");
}
