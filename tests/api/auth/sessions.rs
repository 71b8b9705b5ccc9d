//! Refreshing, signing out, sessions.

use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Client, Database, Host, Options, figure, text};

async fn refresh(client: &Client, token: &str) -> crate::support::Answer {
    client.post("/api/v1/auth/refresh", &json!({ "refresh_token": token })).await
}

#[db_test]
async fn a_refresh_token_is_exchanged_for_the_next_pair(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let first = text(&ada.me["refresh_token"]);
    let next = refresh(&host.anonymous(), &first).await.expect(200);
    assert_ne!(next["refresh_token"], ada.me["refresh_token"]);
    assert_eq!((&next["token_type"], &next["expires_in"]), (&json!("Bearer"), &json!(900)));
    ada.with_token(next["access_token"].as_str().unwrap()).get("/api/v1/users/me").await.expect(200);
    // The answer may have been lost: asked again at once, the same successor comes.
    let again = refresh(&host.anonymous(), &first).await.expect(200);
    assert_eq!(again["refresh_token"], next["refresh_token"]);
    for bad in ["", "plr_AAAA", &first[..first.len() - 2], "not a token"] {
        assert_eq!(refresh(&host.anonymous(), bad).await.problem(401), "unauthenticated");
    }
}

#[db_test]
async fn a_refresh_token_that_comes_again_later_ends_the_session_for_thief_and_owner(database: Database) {
    // So many sign-ins of one account would be slowed.
    let host = Host::start_with(database, Options::default().set("PURLIN_AUTH_SLOWDOWN_MS", 0)).await;
    let ada = host.tenant("acme").await;
    let trials = figure(5, 100);
    for _ in 0..trials {
        let login = json!({ "email": "admin@acme.example", "password": "correct horse battery" });
        let owner = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
        let stolen = text(&owner.me["refresh_token"]);
        let second = text(&refresh(&owner, &stolen).await.expect(200)["refresh_token"]);
        let third = refresh(&owner, &second).await.expect(200);
        // Two generations on, no grace covers it.
        assert_eq!(refresh(&host.anonymous(), &stolen).await.problem(401), "unauthenticated");
        let newest = text(&third["refresh_token"]);
        assert_eq!(refresh(&owner, &newest).await.problem(401), "unauthenticated", "the whole family ended");
        let access = owner.with_token(third["access_token"].as_str().unwrap());
        assert_eq!(access.get("/api/v1/users/me").await.problem(401), "unauthenticated");
    }
    crate::support::measured!("reuse ended the session in {trials} of {trials} trials");
    let told = ada.rows("/api/v1/audit-logs?filter[action]=session.reuse_detected&page[size]=200").await;
    assert_eq!(told.len(), trials);
    ada.get("/api/v1/users/me").await.expect(200);
}

#[db_test]
async fn of_fifty_refreshes_at_once_one_lineage_comes(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let token = text(&ada.me["refresh_token"]);
    let tries = (0..50).map(|_| {
        let (client, token) = (host.anonymous(), token.clone());
        tokio::spawn(async move { refresh(&client, &token).await.expect(200)["refresh_token"].clone() })
    });
    let mut successors = Vec::new();
    for each in tries.collect::<Vec<_>>() {
        successors.push(each.await.unwrap());
    }
    successors.dedup();
    assert_eq!(successors.len(), 1, "every one of them got the same successor");
    refresh(&host.anonymous(), successors[0].as_str().unwrap()).await.expect(200);
}

#[db_test]
async fn signing_out_ends_the_session_at_once_and_no_other(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery" });
    let phone = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    phone.get("/api/v1/users/me").await.expect(200);
    phone.post("/api/v1/auth/logout", &json!({})).await.expect(204);
    assert_eq!(phone.get("/api/v1/users/me").await.problem(401), "unauthenticated");
    assert_eq!(refresh(&phone, phone.me["refresh_token"].as_str().unwrap()).await.problem(401), "unauthenticated");
    ada.get("/api/v1/users/me").await.expect(200);
}

#[db_test]
async fn open_sessions_are_listed_and_ended_one_by_one(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery" });
    let phone = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    let open = ada.rows("/api/v1/auth/sessions?sort=created_at").await;
    assert_eq!(open.len(), 2);
    assert_eq!(open[1]["ip"], "127.0.0.1");
    let id = open[1]["id"].as_str().unwrap();
    ada.delete(&format!("/api/v1/auth/sessions/{id}")).await.expect(204);
    assert_eq!(phone.get("/api/v1/users/me").await.problem(401), "unauthenticated");
    assert_eq!(ada.delete(&format!("/api/v1/auth/sessions/{id}")).await.problem(404), "not_found");
    assert_eq!(ada.rows("/api/v1/auth/sessions").await.len(), 1);
    // Somebody else's session is not there to be ended.
    let bob = host.member(&ada, "bob@acme.example", &["admin"]).await;
    let adas = open[0]["id"].as_str().unwrap();
    assert_eq!(bob.delete(&format!("/api/v1/auth/sessions/{adas}")).await.problem(404), "not_found");
    ada.get("/api/v1/users/me").await.expect(200);
}
