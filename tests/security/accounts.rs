//! What is done to other people's accounts, invitations and addresses.

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host};

const PASSWORD: &str = "correct horse battery";

fn path_of(client: &Client) -> String {
    format!("/api/v1/users/{}", client.me["user"]["id"].as_str().unwrap())
}

/// As if everybody had signed in long ago.
async fn time_passes(host: &Host) {
    let long_ago = if host.database.is_postgres() { "2020-01-01T00:00:00Z" } else { "2020-01-01T00:00:00+00:00" };
    host.database.execute(&format!("UPDATE sessions SET proven_at = '{long_ago}'")).await;
}

#[db_test]
async fn an_account_that_governs_others_is_not_taken_over_by_a_token_of_another(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let bob = host.member(&ada, "bob@acme.example", &["admin"]).await;
    let carl = host.member(&ada, "carl@acme.example", &["member"]).await;
    let key = ada.post("/api/v1/api-keys", &json!({ "name": "all", "scopes": ["*:*"] })).await.expect(201);
    let key = ada.with_token(key["key"].as_str().unwrap());
    time_passes(&host).await;
    let changes: [(Method, String, Value); 4] = [
        (Method::PATCH, path_of(&bob), json!({ "email": "thief@evil.example" })),
        (Method::PATCH, path_of(&bob), json!({ "is_active": false })),
        (Method::DELETE, format!("{}/totp", path_of(&bob)), json!({})),
        (Method::DELETE, path_of(&bob), json!({})),
    ];
    for (method, path, body) in &changes {
        for (caller, wanted) in [(&ada, "reauthentication_required"), (&key, "sign_in_required")] {
            let answer = caller.send(caller.request(method.clone(), path).json(body)).await;
            assert_eq!(answer.problem(403), wanted, "{method} {path} {body}");
        }
    }
    // Names are no way in, and somebody who governs nobody is managed as before, also by a key.
    ada.patch(&path_of(&bob), &json!({ "first_name": "Bob" })).await.expect(200);
    key.patch(&path_of(&carl), &json!({ "email": "karl@acme.example" })).await.expect(200);
    ada.post("/api/v1/auth/reauthenticate", &json!({ "password": PASSWORD })).await.expect(204);
    ada.patch(&path_of(&bob), &json!({ "email": "robert@acme.example" })).await.expect(200);
    host.mailbox().wait("bob@acme.example", "address", 1).await;
    ada.delete(&path_of(&bob)).await.expect(204);
}

#[db_test]
async fn an_invitation_is_taken_back_by_those_who_could_make_it(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let role = json!({ "name": "desk", "permissions": ["invitations:read", "invitations:delete"] });
    let role = ada.post("/api/v1/roles", &role).await.expect(201);
    let new = json!({ "email": "desk@acme.example", "password": PASSWORD, "role_ids": [role["id"]] });
    ada.post("/api/v1/users", &new).await.expect(201);
    let login = json!({ "email": "desk@acme.example", "password": PASSWORD, "tenant": "acme" });
    let desk = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    let admin = ada.rows("/api/v1/roles?filter[name]=admin").await[0]["id"].clone();
    let invite = async |email: &str, roles: Value| {
        let made = ada.post("/api/v1/invitations", &json!({ "email": email, "role_ids": roles })).await.expect(201);
        format!("/api/v1/invitations/{}", made["id"].as_str().unwrap())
    };
    let (chief, clerk) = (invite("chief@x.example", json!([admin])).await, invite("clerk@x.example", json!([])).await);
    assert_eq!(desk.delete(&chief).await.problem(403), "forbidden");
    desk.delete(&clerk).await.expect(204);
    ada.delete(&chief).await.expect(204);
}

#[db_test]
async fn a_stranger_gets_few_mails_however_they_are_caused(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let bob = host.member(&ada, "bob@acme.example", &[]).await;
    // The address of a user is set to the stranger's and back, again and again.
    let mut refused = 0;
    for n in 0..14 {
        let to = if n % 2 == 0 { "stranger@x.example" } else { "bob@acme.example" };
        refused += usize::from(ada.patch(&path_of(&bob), &json!({ "email": to })).await.status == 429);
    }
    assert!((2..=6).contains(&refused), "of fourteen mails {refused} are not sent");
    // An invitation is sent again and again.
    let made = ada.post("/api/v1/invitations", &json!({ "email": "other@x.example" })).await.expect(201);
    let path = format!("/api/v1/invitations/{}/resend", made["id"].as_str().unwrap());
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(ada.post(&path, &json!({})).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429, 429], "five at once, and then one in five minutes");
    assert_eq!(host.mailbox().wait("other@x.example", "", 5).await.len(), 5);
    for name in ["https://evil.example", "a\u{202e}b"] {
        let settings = json!({ "settings": { "mail_sender_name": name } });
        assert_eq!(ada.patch("/api/v1/tenants/me", &settings).await.problem(422), "invalid", "{name}");
    }
    ada.patch("/api/v1/tenants/me", &json!({ "settings": { "mail_sender_name": "Acme & Sons" } })).await.expect(200);
}

#[db_test]
async fn a_list_finds_an_address_however_it_is_written(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    ada.post("/api/v1/users", &json!({ "email": "eva@m\u{fc}nchen.example" })).await.expect(201);
    ada.post("/api/v1/invitations", &json!({ "email": "eva@b\u{fc}ro.example" })).await.expect(201);
    for address in ["EVA@m\u{fc}nchen.example", "eva@xn--mnchen-3ya.example", "eva@MU\u{308}NCHEN.example"] {
        assert_eq!(ada.rows(&format!("/api/v1/users?filter[email]={address}")).await.len(), 1, "{address}");
    }
    assert_eq!(ada.rows("/api/v1/invitations?filter[email]=Eva@b\u{fc}ro.example").await.len(), 1);
    assert!(ada.rows("/api/v1/users?filter[email]=nobody").await.is_empty());
}

#[db_test]
async fn a_key_is_of_permissions_that_there_are(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for scope in ["users:rule", "secrets:read", "inventory.items:read"] {
        let answer = ada.post("/api/v1/api-keys", &json!({ "name": "k", "scopes": ["users:read", scope] })).await;
        let refused = answer.expect(422);
        assert_eq!(
            (&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]),
            (&json!("/scopes/1"), &json!("unknown"))
        );
    }
    ada.post("/api/v1/api-keys", &json!({ "name": "k", "scopes": ["users:read", "*:read", "installations:*"] }))
        .await
        .expect(201);
}

#[db_test]
async fn wrong_sign_ins_tell_nothing_of_whether_an_address_is_known(database: Database) {
    let host = Host::start_with(database, crate::support::Options::default().set("PURLIN_AUTH_SLOWDOWN_MS", 50)).await;
    host.tenant("acme").await;
    let told = async |email: &str| {
        let login = json!({ "email": email, "password": "wrong horse battery", "tenant": "acme" });
        let mut all = Vec::new();
        for _ in 0..7 {
            let answer = host.anonymous().post("/api/v1/auth/login", &login).await;
            let headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
            all.push((answer.status, answer.body["code"].clone(), answer.body["detail"].clone(), headers));
        }
        all
    };
    assert_eq!(told("admin@acme.example").await, told("nobody@acme.example").await);
    // The owner gets in.
    let login = json!({ "email": "admin@acme.example", "password": PASSWORD, "tenant": "acme" });
    host.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
}
