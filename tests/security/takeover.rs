//! Ways to become somebody who may do more, each with what is allowed beside it.

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host, figure};

fn path_of(client: &Client) -> String {
    format!("/api/v1/users/{}", client.me["user"]["id"].as_str().unwrap())
}

#[db_test]
async fn a_narrow_key_does_not_take_over_its_maker(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let low = host.member(&ada, "low@acme.example", &[]).await;
    let scopes = json!({ "name": "people", "scopes": ["users:read", "users:update", "users:delete"] });
    let key = ada.post("/api/v1/api-keys", &scopes).await.expect(201);
    let key = ada.with_token(key["key"].as_str().unwrap());
    assert_eq!(key.patch(&path_of(&ada), &json!({ "email": "evil@acme.example" })).await.problem(403), "forbidden");
    assert_eq!(key.delete(&path_of(&ada)).await.problem(403), "forbidden");
    assert_eq!(key.patch("/api/v1/users/me", &json!({ "first_name": "x" })).await.problem(403), "sign_in_required");
    key.patch(&path_of(&low), &json!({ "email": "lower@acme.example" })).await.expect(200);
}

#[db_test]
async fn an_administrator_beside_the_operator_does_not_become_one(database: Database) {
    let host = Host::start(database).await;
    let operator = host.operator().await;
    let bob = host.member(&operator, "bob@purlin.local", &["admin"]).await;
    assert_eq!(bob.get("/api/v1/tenants").await.problem(403), "forbidden");
    for change in [json!({ "email": "bob2@purlin.local" }), json!({ "is_active": false })] {
        assert_eq!(bob.patch(&path_of(&operator), &change).await.problem(403), "forbidden");
    }
    assert_eq!(bob.delete(&path_of(&operator)).await.problem(403), "forbidden");
    operator.patch(&path_of(&bob), &json!({ "first_name": "Bob" })).await.expect(200);
}

#[db_test]
async fn a_tenant_does_not_take_the_host_name_that_everybody_signs_in_at(database: Database) {
    let host = Host::start(database).await;
    let (ada, bob) = (host.tenant("acme").await, host.tenant("bolts").await);
    for domain in ["127.0.0.1", "10.0.0.1"] {
        assert_eq!(bob.patch("/api/v1/tenants/me", &json!({ "domain": domain })).await.problem(422), "invalid");
    }
    bob.patch("/api/v1/tenants/me", &json!({ "domain": "shared.example" })).await.expect(200);
    // Whoever is not in that tenant signs in to their own there.
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery" });
    let there = ada.request(Method::POST, "/api/v1/auth/login").header("host", "shared.example").json(&login);
    assert_eq!(ada.send(there).await.expect(200)["tenant"]["slug"], "acme");
}

#[db_test]
async fn a_sign_in_under_way_does_not_outlive_the_password_it_was_for(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for round in 0..figure(3, 10) {
        let (old, new) = (format!("the password of round {round}"), format!("the password of round {}", round + 1));
        if round == 0 {
            let first = json!({ "current_password": "correct horse battery", "new_password": old });
            ada.post("/api/v1/auth/password/change", &first).await.expect(204);
        }
        let login = json!({ "email": "admin@acme.example", "password": old });
        let tries: Vec<_> = (0..6)
            .map(|_| {
                let (client, login) = (host.anonymous(), login.clone());
                tokio::spawn(async move { client.post("/api/v1/auth/login", &login).await })
            })
            .collect();
        let change = json!({ "current_password": old, "new_password": new });
        ada.post("/api/v1/auth/password/change", &change).await.expect(204);
        for each in tries {
            let answer = each.await.unwrap();
            if answer.status == 200 {
                // It came first; then the change ended it.
                let client = ada.with_token(answer.body["access_token"].as_str().unwrap());
                assert_eq!(client.get("/api/v1/users/me").await.problem(401), "unauthenticated");
            }
        }
        assert_eq!(ada.rows("/api/v1/auth/sessions").await.len(), 1);
    }
}

#[db_test]
async fn an_invitation_gives_no_more_than_who_invited_may_give_when_it_is_accepted(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let bob = host.member(&ada, "bob@acme.example", &["admin"]).await;
    let admin = ada.rows("/api/v1/roles?filter[name]=admin").await[0]["id"].as_str().unwrap().to_owned();
    let invite = |email: &str| json!({ "email": email, "role_ids": [admin] });
    bob.post("/api/v1/invitations", &invite("eve@acme.example")).await.expect(201);
    let token = host.mailbox().token("eve@acme.example", "invited", 1).await;
    let role = json!({ "name": "mailer", "permissions": ["invitations:*"] });
    let role = ada.post("/api/v1/roles", &role).await.expect(201);
    ada.delete(&format!("{}/roles/{admin}", path_of(&bob))).await.expect(204);
    let put = format!("{}/roles/{}", path_of(&bob), role["id"].as_str().unwrap());
    ada.send(ada.request(Method::PUT, &put)).await.expect(200);
    let accept = |token: &str| json!({ "token": token, "password": "correct horse battery" });
    assert_eq!(host.anonymous().post("/api/v1/invitations/accept", &accept(&token)).await.problem(422), "invalid");
    // Sending it again takes the right to give, too.
    let id: Value = bob.rows("/api/v1/invitations").await[0]["id"].clone();
    let resend = format!("/api/v1/invitations/{}/resend", id.as_str().unwrap());
    assert_eq!(bob.post(&resend, &json!({})).await.problem(403), "forbidden");
    ada.post("/api/v1/invitations", &invite("carol@acme.example")).await.expect(201);
    let token = host.mailbox().token("carol@acme.example", "invited", 1).await;
    host.anonymous().post("/api/v1/invitations/accept", &accept(&token)).await.expect(201);
}

#[db_test]
async fn a_code_of_the_second_factor_cannot_be_guessed(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let begun = ada.post("/api/v1/auth/totp", &json!({ "password": "correct horse battery" })).await.expect(201);
    let secret = begun["secret"].as_str().unwrap();
    let confirm = json!({ "code": crate::support::code(secret, 0) });
    ada.post("/api/v1/auth/totp/confirm", &confirm).await.expect(200);
    let tries: Vec<_> = (0..20)
        .map(|n| {
            let client = host.anonymous();
            let login = json!({ "email": "admin@acme.example", "password": "correct horse battery", "code": format!("{n:06}") });
            tokio::spawn(async move { client.post("/api/v1/auth/login", &login).await.status })
        })
        .collect();
    let mut refused = 0;
    for each in tries {
        let status = each.await.unwrap();
        assert!([401, 429].contains(&status), "{status}");
        refused += usize::from(status == 429);
    }
    assert_eq!(refused, 10, "ten may be tried, then one each five minutes");
    // The other way out is still there.
    let id = path_of(&ada);
    let bob = host.member(&ada, "bob@acme.example", &["admin"]).await;
    bob.delete(&format!("{id}/totp")).await.expect(204);
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery" });
    host.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
}

#[db_test]
async fn a_key_that_signs_is_the_hosts_own(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let stranger = crate::support::Minter::unknown("planted");
    host.database
        .execute(&format!(
            "INSERT INTO signing_keys (id, public_key, private_key, mac, signs_from, retired_at, created_at)
             VALUES ('planted', '{}', NULL, 'x', '2020-01-01T00:00:00+00:00', NULL, '2020-01-01T00:00:00+00:00')",
            stranger.public
        ))
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(3_500)).await;
    let token = stranger.mint(&stranger.header(), &crate::support::Minter::claims(&ada));
    assert_eq!(ada.with_token(&token).get("/api/v1/users/me").await.problem(401), "unauthenticated");
    ada.get("/api/v1/users/me").await.expect(200);
}
