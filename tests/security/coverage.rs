//! Every operation of the API, tried by those who may not.

use purlin_api::{Needs, Operation, operations};
use purlin_domain::clock::{Clock, SystemClock};
use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Client, Database, Host, Minter};

fn path(template: &str) -> String {
    let id = "01930000-0000-7000-8000-000000000000";
    template
        .replace("{id}", id)
        .replace("{role_id}", id)
        .replace("{permission_id}", id)
        .replace("{plugin}", "probe")
        .replace("{name}", "probe")
        .replace("{collection}", "notes")
        .replace("{queue}", "low")
        .replace("{kind}", "ping")
        .replace("{version}", "0.1.0")
        .replace("{*file}", "index.html")
        .replace("{*path}", "echo/word")
        .replace("{*key}", "a/file.txt")
}

async fn call(client: &Client, operation: &Operation) -> Answer {
    let mut path = path(operation.path);
    if path.ends_with("/stream") {
        // Whoever may would listen for ever: it is asked what it refuses whoever asks.
        path.push_str("?unknown=1");
    }
    let request = client.request(operation.method.clone(), &path);
    let is_bare = operation.method == Method::GET || operation.method == Method::DELETE;
    client.send(if is_bare { request } else { request.json(&json!({})) }).await
}

/// Operations that end the session of the caller.
fn ends_the_session(operation: &Operation) -> bool {
    operation.path == "/api/v1/auth/logout"
}

#[db_test]
async fn no_operation_that_needs_somebody_answers_without_good_credentials(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let minter = Minter::known_to(&host, "old-key").await;
    let now = SystemClock.now().timestamp();
    let mut claims = Minter::claims(&ada);
    ada.with_token(&minter.mint(&minter.header(), &claims)).get("/api/v1/users/me").await.expect(200);
    (claims["iat"], claims["exp"]) = (json!(now - 1_000), json!(now - 100));
    let expired = ada.with_token(&minter.mint(&minter.header(), &claims));
    let callers = [host.anonymous(), ada.with_token("not.a.token"), ada.with_token("plk_AAAA"), expired];
    let (mut guarded, mut open) = (0, 0);
    for operation in operations() {
        let name = format!("{} {}", operation.method, operation.path);
        if operation.needs == Needs::Nothing {
            open += 1;
            assert_ne!(call(&callers[0], &operation).await.status, 403, "{name}");
            continue;
        }
        guarded += 1;
        for caller in &callers {
            let answer = call(caller, &operation).await;
            assert_eq!(answer.headers["www-authenticate"], "Bearer", "{name}");
            assert_eq!(answer.problem(401), "unauthenticated", "{name}");
        }
    }
    crate::support::measured!("{guarded} guarded operations × {} callers, {open} open operations", callers.len());
    assert!(guarded >= 80 && open == 15, "{guarded} guarded, {open} open");
}

#[db_test]
async fn a_user_without_roles_is_refused_what_an_administrator_is_not(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for operation in operations().into_iter().filter(|operation| !ends_the_session(operation)) {
        let granted = call(&ada, &operation).await;
        let name = format!("{} {}", operation.method, operation.path);
        match operation.needs {
            Needs::Operator => assert_eq!(granted.problem(403), "forbidden"),
            // Asked with an empty body, some of the open ones refuse the credentials in it.
            Needs::Nothing => assert_ne!(granted.status, 403, "{name}"),
            _ => assert!(granted.status != 401 && granted.status != 403, "{name}: {} {}", granted.status, granted.body),
        }
    }
    // The calls above disabled the plugin too.
    ada.enable("probe").await;
    let low = host.member(&ada, "low@acme.example", &[]).await;
    for operation in operations().into_iter().filter(|operation| !ends_the_session(operation)) {
        let answer = call(&low, &operation).await;
        let name = format!("{} {}", operation.method, operation.path);
        match operation.needs {
            Needs::Permission(..) | Needs::Collection(_) | Needs::Files | Needs::PluginRoute | Needs::Operator => {
                assert_eq!(answer.problem(403), "forbidden", "{name}");
            }
            Needs::SignedIn | Needs::Nothing => assert_ne!(answer.status, 403, "{name}"),
        }
    }
}

#[db_test]
async fn a_person_of_another_tenant_gets_nothing_of_this_one(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let note = ada.create("probe/notes", json!({ "text": "of acme" })).await;
    let bob = host.tenant("bolts").await;
    bob.enable("probe").await;
    let ids = crate::support::ids_of(&ada).await;
    for operation in operations() {
        if operation.needs == Needs::Nothing || !operation.path.contains("{id}") {
            continue;
        }
        for id in ids.iter().chain([&note]) {
            let random = operation.path.replace("{id}", "01930000-0000-7000-8000-000000000000");
            let foreign = path(&operation.path.replace("{id}", id));
            let ask = async |path: String| {
                let request = bob.request(operation.method.clone(), &path);
                let is_bare = operation.method == Method::GET || operation.method == Method::DELETE;
                let mut answer = bob.send(if is_bare { request } else { request.json(&json!({})) }).await;
                answer.body["request_id"] = json!(null);
                answer.body["instance"] = json!(null);
                (answer.status, answer.body)
            };
            let (foreign, random) = (ask(foreign).await, ask(path(&random)).await);
            assert_eq!(foreign, random, "{} {}", operation.method, operation.path);
            assert!(foreign.0 >= 400, "{} {}", operation.method, operation.path);
        }
    }
    ada.get(&format!("/api/v1/apps/probe/notes/{note}")).await.expect(200);
}

#[db_test]
async fn a_user_or_a_tenant_that_is_no_longer_active_is_refused(database: Database) {
    let host = Host::start(database).await;
    let (ada, bob) = (host.tenant("acme").await, host.tenant("bolts").await);
    let eve = host.member(&ada, "eve@acme.example", &["viewer"]).await;
    let id = eve.me["user"]["id"].as_str().unwrap();
    ada.patch(&format!("/api/v1/users/{id}"), &json!({ "is_active": false })).await.expect(200);
    host.suspend(&bob).await;
    for client in [&eve, &bob] {
        assert_eq!(client.get("/api/v1/users/me").await.problem(401), "unauthenticated");
    }
    for (slug, email) in [("acme", "eve@acme.example"), ("bolts", "admin@bolts.example")] {
        let login = json!({ "tenant": slug, "email": email, "password": "correct horse battery" });
        assert_eq!(host.anonymous().post("/api/v1/auth/login", &login).await.problem(401), "unauthenticated");
    }
    ada.get("/api/v1/users/me").await.expect(200);
}
