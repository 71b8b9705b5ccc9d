//! Proving an address, forgotten and changed passwords, the second factor.

use std::time::Duration;

use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host, code};

const PASSWORD: &str = "correct horse battery";

#[db_test]
async fn a_mail_welcomes_a_new_administrator_and_proves_the_address(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let mails = host.mailbox().wait("admin@acme.example", "Welcome to acme", 1).await;
    assert_eq!(mails[0].from, "acme <purlin@localhost>");
    assert_eq!(ada.get("/api/v1/users/me").await.expect(200)["is_verified"], false);
    let token = host.mailbox().token("admin@acme.example", "Welcome", 1).await;
    let verify =
        async |token: &str| host.anonymous().post("/api/v1/auth/email/verify", &json!({ "token": token })).await;
    assert_eq!(verify("plt_AAAA").await.problem(422), "invalid");
    verify(&token).await.expect(204);
    assert_eq!(ada.get("/api/v1/users/me").await.expect(200)["is_verified"], true);
    assert_eq!(verify(&token).await.problem(422), "invalid", "a token is used once");
    ada.post("/api/v1/auth/email/resend", &json!({})).await.expect(204);
    ada.settle().await;
    assert!(host.mailbox().find("admin@acme.example", "Confirm").is_empty(), "what is proven needs no proof");
}

#[db_test]
async fn a_forgotten_password_is_set_anew_by_what_the_mail_carries(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let key = ada.post("/api/v1/api-keys", &json!({ "name": "ci", "scopes": ["users:read"] })).await.expect(201);
    let nobody = host.anonymous();
    let forgot = async |email: &str| {
        let began = std::time::Instant::now();
        nobody.post("/api/v1/auth/password/forgot", &json!({ "email": email })).await.expect(204);
        began.elapsed()
    };
    let (known, unknown) = (forgot("admin@acme.example").await, forgot("nobody@acme.example").await);
    assert!(
        known >= Duration::from_millis(300) && unknown >= Duration::from_millis(300),
        "it takes its time either way"
    );
    let token = host.mailbox().token("admin@acme.example", "Set a new password", 1).await;
    let reset = async |token: &str, password: &str| {
        nobody.post("/api/v1/auth/password/reset", &json!({ "token": token, "password": password })).await
    };
    assert_eq!(reset(&token, "short").await.problem(422), "invalid");
    reset(&token, "another horse battery").await.expect(204);
    assert_eq!(reset(&token, "third horse battery").await.problem(422), "invalid", "a token is used once");
    assert_eq!(ada.get("/api/v1/users/me").await.problem(401), "unauthenticated", "every session ended");
    let by_key = ada.with_token(key["key"].as_str().unwrap());
    assert_eq!(by_key.get("/api/v1/users").await.problem(401), "unauthenticated", "and every key");
    let login = |password: &str| json!({ "email": "admin@acme.example", "password": password });
    assert_eq!(nobody.post("/api/v1/auth/login", &login(PASSWORD)).await.problem(401), "unauthenticated");
    let back = nobody.clone().signed_in("/api/v1/auth/login", &login("another horse battery"), 200).await;
    assert_eq!(back.me["user"]["is_verified"], true, "whoever read the mail has the address");
    let welcome = host.mailbox().token("admin@acme.example", "Welcome", 1).await;
    let other_purpose = json!({ "token": welcome, "password": "another horse battery" });
    assert_eq!(nobody.post("/api/v1/auth/password/reset", &other_purpose).await.problem(422), "invalid");
}

#[db_test]
async fn a_password_is_changed_for_the_old_one_and_ends_other_sessions(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let login = |password: &str| json!({ "email": "admin@acme.example", "password": password });
    let phone = host.anonymous().signed_in("/api/v1/auth/login", &login(PASSWORD), 200).await;
    let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
    let path = "/api/v1/auth/password/change";
    let body = ada.post(path, &change("wrong horse battery", "another horse battery")).await.expect(422);
    assert_eq!(body["errors"][0]["pointer"], "/current_password");
    let body = ada.post(path, &change(PASSWORD, "short")).await.expect(422);
    assert_eq!(body["errors"][0]["pointer"], "/new_password");
    ada.post(path, &change(PASSWORD, "another horse battery")).await.expect(204);
    ada.get("/api/v1/users/me").await.expect(200);
    assert_eq!(phone.get("/api/v1/users/me").await.problem(401), "unauthenticated");
    host.anonymous().post("/api/v1/auth/login", &login("another horse battery")).await.expect(200);
    let rows = ada.rows("/api/v1/audit-logs?filter[action]=user.password_changed").await;
    assert_eq!(rows[0]["changes"], json!({ "password": { "before": "***", "after": "***" } }));
}

/// The secret, the code that confirmed it, and the recovery codes.
async fn with_second_factor(ada: &Client) -> (String, String, Vec<String>) {
    let begun = ada.post("/api/v1/auth/totp", &json!({ "password": PASSWORD })).await.expect(201);
    let secret = begun["secret"].as_str().unwrap().to_owned();
    assert!(begun["url"].as_str().unwrap().starts_with("otpauth://totp/"), "{begun}");
    let wrong = ada.post("/api/v1/auth/totp/confirm", &json!({ "code": "000000" })).await;
    assert_eq!(wrong.problem(422), "invalid");
    let first = code(&secret, 0);
    let confirmed = ada.post("/api/v1/auth/totp/confirm", &json!({ "code": first })).await.expect(200);
    let codes: Vec<String> = serde_json::from_value(confirmed["recovery_codes"].clone()).unwrap();
    assert_eq!(codes.len(), 10);
    (secret, first, codes)
}

#[db_test]
async fn a_second_factor_is_asked_for_and_its_codes_work_once(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let (secret, first, recovery) = with_second_factor(&ada).await;
    let login = async |code: Value| {
        let mut login = json!({ "email": "admin@acme.example", "password": PASSWORD });
        if !code.is_null() {
            login["code"] = code;
        }
        host.anonymous().post("/api/v1/auth/login", &login).await
    };
    assert_eq!(login(Value::Null).await.problem(401), "second_factor_required");
    assert_eq!(login(json!("123")).await.problem(401), "unauthenticated");
    // The code that confirmed it is spent; the next one is not.
    assert_eq!(login(json!(first)).await.problem(401), "unauthenticated");
    let next = code(&secret, 1);
    login(json!(next)).await.expect(200);
    assert_eq!(login(json!(next)).await.problem(401), "unauthenticated", "no code works twice");
    login(json!(recovery[0])).await.expect(200);
    assert_eq!(login(json!(recovery[0])).await.problem(401), "unauthenticated");
    // The wrong password does not tell that there is a second factor.
    let wrong = json!({ "email": "admin@acme.example", "password": "wrong horse battery" });
    assert_eq!(host.anonymous().post("/api/v1/auth/login", &wrong).await.problem(401), "unauthenticated");
    assert_eq!(
        ada.post("/api/v1/auth/totp", &json!({ "password": PASSWORD })).await.problem(409),
        "second_factor_enabled"
    );
    let disable = async |proof: Value| ada.post("/api/v1/auth/totp/disable", &proof).await;
    assert_eq!(disable(json!({ "password": "wrong horse battery" })).await.problem(422), "invalid");
    let without = disable(json!({ "password": PASSWORD })).await.expect(422);
    assert_eq!(without["errors"][0]["pointer"], "/code", "the password alone takes no second factor away");
    disable(json!({ "password": PASSWORD, "code": recovery[1] })).await.expect(204);
    login(Value::Null).await.expect(200);
}
