use purlin_domain::clock::{Clock, SystemClock};
use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Database, Host, text};

#[db_test]
async fn a_key_does_what_its_scopes_say_and_no_more(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let made = ada
        .post("/api/v1/api-keys", &json!({ "name": "ci", "scopes": ["users:read", "users:update"] }))
        .await
        .expect(201);
    let key = ada.with_token(made["key"].as_str().unwrap());
    assert!(
        made["key"].as_str().unwrap().starts_with("plk_")
            && made["key"].as_str().unwrap().ends_with(made["hint"].as_str().unwrap())
    );
    key.get("/api/v1/users").await.expect(200);
    assert_eq!(key.get("/api/v1/roles").await.problem(403), "forbidden");
    let bob = host.member(&ada, "bob@acme.example", &[]).await;
    key.patch(&format!("/api/v1/users/{}", text(&bob.me["user"]["id"])), &json!({ "first_name": "Bob" }))
        .await
        .expect(200);
    let row = &ada.rows("/api/v1/audit-logs?filter[action]=user.updated").await[0];
    assert_eq!((&row["actor_kind"], &row["actor"]), (&json!("api_key"), &made["id"]));
    assert_eq!(row["on_behalf_of"], ada.me["user"]["id"]);
    let shown = ada.get(&format!("/api/v1/api-keys/{}", text(&made["id"]))).await.expect(200);
    assert!(shown.get("key").is_none() && !shown.to_string().contains("hash"), "{shown}");
    assert!(shown["last_used_at"].is_string());
    // What concerns the account itself takes a person.
    assert_eq!(key.get("/api/v1/auth/sessions").await.problem(403), "sign_in_required");
    let change = json!({ "current_password": "correct horse battery", "new_password": "another horse battery" });
    assert_eq!(key.post("/api/v1/auth/password/change", &change).await.problem(403), "sign_in_required");
}

#[db_test]
async fn a_key_never_does_more_than_its_maker_may_at_that_moment(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let bob = host.member(&ada, "bob@acme.example", &["admin"]).await;
    let made = bob.post("/api/v1/api-keys", &json!({ "name": "ci", "scopes": ["users:read"] })).await.expect(201);
    let key = bob.with_token(made["key"].as_str().unwrap());
    key.get("/api/v1/users").await.expect(200);
    let admin = text(&ada.rows("/api/v1/roles?filter[name]=admin").await[0]["id"]);
    let path = format!("/api/v1/users/{}", text(&bob.me["user"]["id"]));
    ada.delete(&format!("{path}/roles/{admin}")).await.expect(204);
    assert_eq!(key.get("/api/v1/users").await.problem(403), "forbidden");
    ada.delete(&path).await.expect(204);
    assert_eq!(key.get("/api/v1/users").await.problem(401), "unauthenticated");
}

#[db_test]
async fn a_key_ends_when_it_expires_or_is_taken_away(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let soon = SystemClock.now() + std::time::Duration::from_secs(2);
    let make = |ends: Value| json!({ "name": "ci", "scopes": ["users:read"], "expires_at": ends });
    let made = ada.post("/api/v1/api-keys", &make(json!(soon))).await.expect(201);
    let key = ada.with_token(made["key"].as_str().unwrap());
    key.get("/api/v1/users").await.expect(200);
    tokio::time::sleep(std::time::Duration::from_millis(2_200)).await;
    assert_eq!(key.get("/api/v1/users").await.problem(401), "unauthenticated");
    let made = ada.post("/api/v1/api-keys", &make(Value::Null)).await.expect(201);
    let key = ada.with_token(made["key"].as_str().unwrap());
    key.get("/api/v1/users").await.expect(200);
    ada.delete(&format!("/api/v1/api-keys/{}", text(&made["id"]))).await.expect(204);
    assert_eq!(key.get("/api/v1/users").await.problem(401), "unauthenticated");
    assert_eq!(ada.post("/api/v1/api-keys", &make(json!("2020-01-01T00:00:00Z"))).await.problem(422), "invalid");
    let none = json!({ "name": "ci", "scopes": [] });
    assert_eq!(ada.post("/api/v1/api-keys", &none).await.problem(422), "invalid");
    // Another secret under the same id, and another tenant's id under the same secret.
    let text = text(&made["key"]);
    for forged in [format!("{}A", &text[..text.len() - 1]), text.replacen("plk_A", "plk_B", 1)] {
        assert_eq!(ada.with_token(&forged).get("/api/v1/users").await.problem(401), "unauthenticated");
    }
}
