mod account;
mod sessions;

use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Database, Host, Options};

fn registration(slug: &str) -> Value {
    json!({ "tenant": { "name": "Acme", "slug": slug }, "email": "Ada@Acme.example", "password": "correct horse battery" })
}

#[db_test]
async fn registering_makes_a_tenant_with_an_administrator_who_is_signed_in(database: Database) {
    let host = Host::start(database).await;
    let ada = host.anonymous().signed_in("/api/v1/auth/register", &registration("acme"), 201).await;
    assert_eq!(ada.me["tenant"]["slug"], "acme");
    assert_eq!(ada.me["user"]["email"], "ada@acme.example");
    assert_eq!(ada.me["token_type"], "Bearer");
    assert_eq!(ada.me["expires_in"], 900);
    assert!(!ada.me.to_string().contains("argon2"), "a hash never leaves the host");
    assert_eq!(ada.get("/api/v1/users/me").await.expect(200)["roles"], json!(["admin"]));
    let types: Vec<Value> =
        ada.rows("/api/v1/events?sort=created_at").await.iter().map(|e| e["type"].clone()).collect();
    assert_eq!(types, ["tenant.created", "tenant.provisioned", "user.created"]);
}

#[db_test]
async fn a_slug_that_was_chosen_and_is_taken_is_a_conflict_and_one_that_was_not_is_varied(database: Database) {
    let host = Host::start(database).await;
    host.tenant("acme").await;
    assert_eq!(host.anonymous().post("/api/v1/auth/register", &registration("acme")).await.problem(409), "slug_taken");
    let unnamed = json!({ "tenant": { "name": "Acme" }, "email": "b@b.example", "password": "correct horse battery" });
    let second = host.anonymous().post("/api/v1/auth/register", &unnamed).await.expect(201);
    let slug = second["tenant"]["slug"].as_str().unwrap();
    assert!(slug.starts_with("acme-") && slug.len() == 9, "{slug}");
}

#[db_test]
async fn what_is_wrong_with_a_registration_is_told_field_by_field(database: Database) {
    let host = Host::start(database).await;
    let bad = json!({ "tenant": { "name": "", "slug": "No Slug" }, "email": "nobody", "password": "short" });
    let body = host.anonymous().post("/api/v1/auth/register", &bad).await.expect(422);
    let pointers: Vec<&str> =
        body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/tenant/name", "/tenant/slug", "/email", "/password"]);
    let unknown_field = json!({ "tenant": { "name": "x" }, "email": "a@b.example", "password": "correct horse battery", "role": "operator" });
    assert_eq!(host.anonymous().post("/api/v1/auth/register", &unknown_field).await.problem(422), "invalid");
    let text = host.anonymous().request(reqwest::Method::POST, "/api/v1/auth/register").body("{}");
    assert_eq!(host.anonymous().send(text).await.problem(415), "media_type");
    let broken = host
        .anonymous()
        .request(reqwest::Method::POST, "/api/v1/auth/register")
        .header("content-type", "application/json")
        .body("{");
    assert_eq!(host.anonymous().send(broken).await.problem(400), "json");
    let large = json!({ "password": "x".repeat(2 << 20) });
    assert_eq!(host.anonymous().post("/api/v1/auth/register", &large).await.problem(413), "too_large");
}

#[db_test]
async fn signing_in_takes_the_right_password_and_says_nothing_else_apart(database: Database) {
    let host = Host::start(database).await;
    host.tenant("acme").await;
    let login = |email: &str, password: &str| json!({ "email": email, "password": password });
    let client = host.anonymous();
    client.post("/api/v1/auth/login", &login("ADMIN@acme.example", "correct horse battery")).await.expect(200);
    let mut wrong =
        client.post("/api/v1/auth/login", &login("admin@acme.example", "wrong horse battery")).await.expect(401);
    let mut unknown =
        client.post("/api/v1/auth/login", &login("nobody@acme.example", "correct horse battery")).await.expect(401);
    wrong["request_id"] = Value::Null;
    unknown["request_id"] = Value::Null;
    assert_eq!(wrong, unknown, "the answer does not tell which addresses exist");
}

#[db_test]
async fn an_address_in_two_tenants_signs_in_to_the_older_unless_it_names_one(database: Database) {
    let host = Host::start(database).await;
    for slug in ["acme", "bolts"] {
        host.anonymous().post("/api/v1/auth/register", &registration(slug)).await.expect(201);
    }
    let mut login = json!({ "email": "ada@acme.example", "password": "correct horse battery" });
    let unnamed = host.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
    assert_eq!(unnamed["tenant"]["slug"], "acme");
    login["tenant"] = json!("bolts");
    assert_eq!(host.anonymous().post("/api/v1/auth/login", &login).await.expect(200)["tenant"]["slug"], "bolts");
}

#[db_test]
async fn registration_can_be_closed(database: Database) {
    let host = Host::start_with(database, Options::default().set("PURLIN_REGISTRATION_OPEN", "false")).await;
    assert_eq!(
        host.anonymous().post("/api/v1/auth/register", &registration("acme")).await.problem(403),
        "registration_closed"
    );
}

#[db_test]
async fn tokens_name_a_key_of_the_published_set_and_survive_a_restart(database: Database) {
    let mut host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let keys = host.anonymous().get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(keys["keys"][0]["alg"], "RS256");
    assert!(keys["keys"][0].get("d").is_none(), "only the public half");
    assert!(host.stop().await);
    host.restart(Options::default()).await;
    ada.at(&host.base).get("/api/v1/users/me").await.expect(200);
    assert_eq!(host.anonymous().get("/.well-known/jwks.json").await.expect(200), keys);
}

#[db_test]
async fn a_token_that_was_tampered_with_is_refused(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let token = ada.token.clone().unwrap();
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    // {"alg":"none","typ":"at+jwt"} and {"alg":"HS256","typ":"at+jwt"}, base64url.
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    let hs256 = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9";
    let other = host.tenant("bolts").await.token.unwrap();
    let foreign_claims = other.split('.').nth(1).unwrap();
    let forged = [
        format!("{none}.{claims}."),
        format!("{hs256}.{claims}.{signature}"),
        format!("{header}.{foreign_claims}.{signature}"),
        format!("{header}.{claims}.{}", signature.chars().rev().collect::<String>()),
        format!("{header}.{claims}"),
        "x".repeat(20_000),
        String::new(),
    ];
    for token in forged {
        assert_eq!(ada.with_token(&token).get("/api/v1/users/me").await.problem(401), "unauthenticated", "{token}");
    }
    ada.get("/api/v1/users/me").await.expect(200);
}
