use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Database, Host, text};

fn accept(token: &str) -> Value {
    json!({ "token": token, "password": "correct horse battery", "first_name": "Bob" })
}

#[db_test]
async fn somebody_who_is_invited_accepts_and_is_signed_in_with_the_roles(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let viewer = ada.rows("/api/v1/roles?filter[name]=viewer").await[0]["id"].clone();
    let new = json!({ "email": "Bob@acme.example", "role_ids": [viewer] });
    let made = ada.post("/api/v1/invitations", &new).await.expect(201);
    assert!(!made.to_string().contains("secret"), "{made}");
    assert_eq!(ada.post("/api/v1/invitations", &new).await.problem(409), "invitation_pending");
    let token = host.mailbox().token("bob@acme.example", "You are invited to acme", 1).await;
    let nobody = host.anonymous();
    let short = json!({ "token": token, "password": "short" });
    assert_eq!(nobody.post("/api/v1/invitations/accept", &short).await.problem(422), "invalid");
    let bob = nobody.clone().signed_in("/api/v1/invitations/accept", &accept(&token), 201).await;
    let me = bob.get("/api/v1/users/me").await.expect(200);
    assert_eq!(
        (&me["email"], &me["is_verified"], &me["roles"]),
        (&json!("bob@acme.example"), &json!(true), &json!(["viewer"]))
    );
    assert_eq!(nobody.post("/api/v1/invitations/accept", &accept(&token)).await.problem(422), "invalid");
    let path = format!("/api/v1/invitations/{}", text(&made["id"]));
    assert_eq!(ada.get(&path).await.expect(200)["status"], "accepted");
    assert_eq!(ada.delete(&path).await.problem(409), "not_pending");
    assert_eq!(ada.post("/api/v1/invitations", &new).await.problem(409), "email_taken");
}

#[db_test]
async fn an_invitation_that_is_sent_again_replaces_the_one_before_and_one_revoked_is_void(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let made = ada.post("/api/v1/invitations", &json!({ "email": "bob@acme.example" })).await.expect(201);
    let path = format!("/api/v1/invitations/{}", text(&made["id"]));
    let first = host.mailbox().token("bob@acme.example", "invited", 1).await;
    let resent = ada.post(&format!("{path}/resend"), &json!({})).await.expect(200);
    assert_eq!(resent["sent_count"], 2);
    let second = host.mailbox().token("bob@acme.example", "invited", 2).await;
    assert_ne!(first, second);
    let nobody = host.anonymous();
    assert_eq!(nobody.post("/api/v1/invitations/accept", &accept(&first)).await.problem(422), "invalid");
    ada.delete(&path).await.expect(204);
    assert_eq!(nobody.post("/api/v1/invitations/accept", &accept(&second)).await.problem(422), "invalid");
    ada.post("/api/v1/invitations", &json!({ "email": "bob@acme.example" })).await.expect(201);
    let third = host.mailbox().token("bob@acme.example", "invited", 3).await;
    host.database.execute("UPDATE invitations SET expires_at = '2020-01-01T00:00:00+00:00'").await;
    assert_eq!(nobody.post("/api/v1/invitations/accept", &accept(&third)).await.problem(422), "invalid", "it expired");
}
