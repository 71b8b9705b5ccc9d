//! Ways to come to more than was given: each path that widens authority, walked by callers who may
//! not, and by one who may.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host, Minter, Options, Receiver, code};

const PASSWORD: &str = "correct horse battery";

fn path_of(client: &Client) -> String {
    format!("/api/v1/users/{}", client.me["user"]["id"].as_str().unwrap())
}

/// As if everybody had signed in long ago.
async fn time_passes(host: &Host) {
    let long_ago = if host.database.is_postgres() { "2020-01-01T00:00:00Z" } else { "2020-01-01T00:00:00+00:00" };
    host.database.execute(&format!("UPDATE sessions SET proven_at = '{long_ago}'")).await;
}

/// A user with these permissions, by a role of its own, signed in.
async fn member_who(host: &Host, ada: &Client, name: &str, permissions: &[&str]) -> Client {
    let role = ada.post("/api/v1/roles", &json!({ "name": name, "permissions": permissions })).await.expect(201);
    let email = format!("{name}@acme.example");
    let new = json!({ "email": email, "password": PASSWORD, "role_ids": [role["id"]] });
    ada.post("/api/v1/users", &new).await.expect(201);
    let login = json!({ "email": email, "password": PASSWORD, "tenant": "acme" });
    host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await
}

#[db_test]
async fn a_token_alone_does_not_take_an_account_over(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let begun = ada.post("/api/v1/auth/totp", &json!({ "password": PASSWORD })).await.expect(201);
    let secret = begun["secret"].as_str().unwrap().to_owned();
    ada.post("/api/v1/auth/totp/confirm", &json!({ "code": code(&secret, 0) })).await.expect(200);
    let everything = json!({ "name": "all", "scopes": ["*:*"] });
    let key = ada.post("/api/v1/api-keys", &everything).await.expect(201);
    let key = ada.with_token(key["key"].as_str().unwrap());
    time_passes(&host).await;
    let me = path_of(&ada);
    let changes: Vec<(Method, String, Value)> = vec![
        (Method::PATCH, me.clone(), json!({ "email": "thief@evil.example" })),
        (Method::PATCH, me.clone(), json!({ "is_active": false })),
        (Method::DELETE, me.clone(), json!({})),
        (Method::DELETE, format!("{me}/totp"), json!({})),
        (Method::POST, "/api/v1/api-keys".to_owned(), json!({ "name": "mine", "scopes": ["*:*"] })),
    ];
    for (method, path, body) in &changes {
        for (caller, wanted) in [(&ada, "reauthentication_required"), (&key, "sign_in_required")] {
            let answer = caller.send(caller.request(method.clone(), path).json(body)).await;
            let found = answer.problem(403);
            assert!(found == wanted || found == "forbidden", "{method} {path}: {found}");
        }
    }
    // The password alone is not enough either, where there is a second factor.
    let disable = json!({ "password": PASSWORD });
    assert_eq!(ada.post("/api/v1/auth/totp/disable", &disable).await.problem(422), "invalid");
    let change = json!({ "current_password": PASSWORD, "new_password": "another horse battery" });
    assert_eq!(ada.post("/api/v1/auth/password/change", &change).await.problem(422), "invalid");
    let prove = |body: Value| ada.clone().prove(body);
    assert_eq!(prove(json!({ "password": "wrong" })).await, 422);
    assert_eq!(prove(json!({ "password": PASSWORD })).await, 422);
    assert_eq!(prove(json!({ "password": PASSWORD, "code": code(&secret, 1) })).await, 204);
    ada.patch(&me, &json!({ "email": "ada@acme.example" })).await.expect(200);
    // Whoever had the address learns of it there.
    host.mailbox().wait("admin@acme.example", "address", 1).await;
    assert_eq!(key.patch(&me, &json!({ "email": "thief@evil.example" })).await.status, 403);
    // What is not sensitive needs no more than the token.
    ada.patch("/api/v1/users/me", &json!({ "first_name": "Ada" })).await.expect(200);
}

trait Prove {
    async fn prove(self, body: Value) -> u16;
}

impl Prove for Client {
    async fn prove(self, body: Value) -> u16 {
        self.post("/api/v1/auth/reauthenticate", &body).await.status
    }
}

#[db_test]
async fn every_path_that_widens_authority_is_closed_to_whoever_lacks_it(database: Database) {
    let host = Host::start_with(database, Options::default().set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8")).await;
    let receiver = Receiver::start(&[200]).await;
    let ada = host.tenant_with("acme", "probe").await;
    let admin = ada.rows("/api/v1/roles?filter[name]=admin").await[0]["id"].clone();
    let own = ada.post("/api/v1/roles", &json!({ "name": "small", "permissions": ["jobs:read"] })).await.expect(201);
    let wide = ada.post("/api/v1/roles", &json!({ "name": "wide", "permissions": ["*:*"] })).await.expect(201);
    let hook = json!({ "url": receiver.url, "event_types": ["role.created"] });
    let hook = ada.post("/api/v1/webhooks", &hook).await.expect(201);
    let low = host.member(&ada, "low@acme.example", &[]).await;
    // Each may do the thing by its name, and lacks what the thing would give.
    let bob = member_who(
        &host,
        &ada,
        "bob",
        &[
            "users:*",
            "roles:*",
            "invitations:*",
            "webhooks:*",
            "api-keys:*",
            "installations:create",
            "installations:read",
        ],
    )
    .await;
    let key =
        json!({ "name": "k", "scopes": ["users:*", "roles:*", "invitations:*", "webhooks:*", "installations:*"] });
    let key = ada.post("/api/v1/api-keys", &key).await.expect(201);
    let key = ada.with_token(key["key"].as_str().unwrap());
    let spare = ada.post("/api/v1/api-keys", &json!({ "name": "spare", "scopes": ["*:*"] })).await.expect(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let paths: Vec<(&str, Method, String, Value)> = vec![
        (
            "a role with more",
            Method::POST,
            "/api/v1/roles".into(),
            json!({ "name": "x", "permissions": ["audit:read"] }),
        ),
        (
            "more in a role",
            Method::POST,
            format!("/api/v1/roles/{}/permissions", text(&own["id"])),
            json!({ "permission": "audit:read" }),
        ),
        ("a wide role's name", Method::PATCH, format!("/api/v1/roles/{}", text(&wide["id"])), json!({ "name": "y" })),
        (
            "a user with a role",
            Method::POST,
            "/api/v1/users".into(),
            json!({ "email": "x@acme.example", "role_ids": [admin] }),
        ),
        ("a role for a user", Method::PUT, format!("{}/roles/{}", path_of(&low), text(&admin)), json!({})),
        (
            "an invitation with a role",
            Method::POST,
            "/api/v1/invitations".into(),
            json!({ "email": "y@acme.example", "role_ids": [admin] }),
        ),
        ("the account of one who may more", Method::PATCH, path_of(&ada), json!({ "email": "z@acme.example" })),
        ("a webhook", Method::POST, "/api/v1/webhooks".into(), json!({ "url": receiver.url, "event_types": ["*"] })),
        (
            "a wider webhook",
            Method::PATCH,
            format!("/api/v1/webhooks/{}", text(&hook["id"])),
            json!({ "event_types": ["*"] }),
        ),
        (
            "another receiver",
            Method::PATCH,
            format!("/api/v1/webhooks/{}", text(&hook["id"])),
            json!({ "url": format!("{}/x", receiver.url) }),
        ),
        ("a key of one who may more", Method::DELETE, format!("/api/v1/api-keys/{}", text(&spare["id"])), json!({})),
        (
            "grants of a plugin",
            Method::POST,
            "/api/v1/installations".into(),
            json!({ "plugin": "probe", "grants": ["users:read", "inventory.items:read", "probe.notes:*"] }),
        ),
        ("a key with more", Method::POST, "/api/v1/api-keys".into(), json!({ "name": "x", "scopes": ["audit:read"] })),
    ];
    for (what, method, path, body) in &paths {
        for (who, caller) in [("bob", &bob), ("key", &key), ("low", &low)] {
            let answer = caller.send(caller.request(method.clone(), path).json(body)).await;
            // A key with more than one has is made, and holds no more than one has.
            if *what == "a key with more" && who == "bob" && answer.status == 201 {
                let made = bob.with_token(answer.body["key"].as_str().unwrap());
                assert_eq!(made.get("/api/v1/audit-logs").await.problem(403), "forbidden");
                continue;
            }
            assert!([403, 422].contains(&answer.status), "{what} by {who}: {} {:#}", answer.status, answer.body);
        }
    }
    for (what, method, path, body) in &paths {
        let answer = ada.send(ada.request(method.clone(), path).json(body)).await;
        assert!((200..300).contains(&answer.status), "{what} by the administrator: {:#}", answer.body);
    }
}

#[db_test]
async fn a_role_is_taken_whatever_the_case_of_its_name(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for name in ["Admin", "ADMIN", "\u{ff41}dmin"] {
        let answer = ada.post("/api/v1/roles", &json!({ "name": name })).await;
        assert!([409, 422].contains(&answer.status), "{name}: {:#}", answer.body);
    }
    ada.post("/api/v1/roles", &json!({ "name": "Clerk" })).await.expect(201);
    assert_eq!(ada.post("/api/v1/roles", &json!({ "name": "clerk" })).await.problem(409), "role_taken");
}

#[db_test]
async fn one_address_is_one_account_however_it_is_written(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for bad in [
        "Bob <bob@example.com>",
        "user@localhost",
        "user@[127.0.0.1]",
        "a b@example.com",
        "a@b..example",
        "a@-b.example",
    ] {
        assert_eq!(ada.post("/api/v1/users", &json!({ "email": bad })).await.problem(422), "invalid", "{bad}");
    }
    let made = ada.post("/api/v1/users", &json!({ "email": "a@M\u{fc}nchen.example" })).await.expect(201);
    assert_eq!(made["email"], "a@xn--mnchen-3ya.example");
    for same in ["a@xn--mnchen-3ya.example", "A@mu\u{308}nchen.EXAMPLE"] {
        assert_eq!(ada.post("/api/v1/users", &json!({ "email": same })).await.problem(409), "email_taken", "{same}");
    }
    // A password is the same in whatever form its letters come; the slug in whatever case.
    let new = json!({ "email": "rene@acme.example", "password": "caf\u{e9} au lait chaud" });
    ada.post("/api/v1/users", &new).await.expect(201);
    let login = json!({ "email": "Rene@acme.example", "password": "cafe\u{301} au lait chaud", "tenant": "ACME" });
    host.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
    let login = json!({ "email": "rene@acme.example", "password": "cafe au lait chaud", "tenant": "acme" });
    assert_eq!(host.anonymous().post("/api/v1/auth/login", &login).await.status, 401);
    for (zone, status) in [("Mars/Olympus", 422), ("Europe/Berlin", 200)] {
        ada.patch("/api/v1/tenants/me", &json!({ "settings": { "time_zone": zone } })).await.expect(status);
    }
}

#[db_test]
async fn names_do_not_carry_a_strangers_text_into_mails(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for name in ["Win at https://evil.example", "evil.example/win", "a\r\nBcc: x", "\u{202e}gnp"] {
        let registration = json!({
            "tenant": { "name": name, "slug": "shop" }, "email": "x@shop.example", "password": PASSWORD,
        });
        assert_eq!(
            host.anonymous().post("/api/v1/auth/register", &registration).await.problem(422),
            "invalid",
            "{name}"
        );
        assert_eq!(
            ada.patch("/api/v1/users/me", &json!({ "first_name": name })).await.problem(422),
            "invalid",
            "{name}"
        );
    }
    ada.patch("/api/v1/users/me", &json!({ "first_name": "Ren\u{e9}e O'Neil-Smith" })).await.expect(200);
    // A stranger gets few mails, whoever sends them.
    let eve = host.tenant("evil").await;
    let mut refused = 0;
    for _ in 0..4 {
        for from in [&ada, &eve] {
            let answer = from.post("/api/v1/invitations", &json!({ "email": "stranger@example.com" })).await;
            match answer.status {
                201 => {
                    let id = answer.body["id"].as_str().unwrap().to_owned();
                    from.post(&format!("/api/v1/invitations/{id}/revoke"), &json!({})).await;
                    from.delete(&format!("/api/v1/invitations/{id}")).await;
                }
                429 => refused += 1,
                other => panic!("{other}: {:#}", answer.body),
            }
        }
    }
    assert_eq!(refused, 3, "five of eight");
    ada.post("/api/v1/invitations", &json!({ "email": "friend@example.com" })).await.expect(201);
}

#[db_test]
async fn a_token_whose_header_asks_for_more_than_is_known_is_refused(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let minter = Minter::known_to(&host, "older").await;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = |header: Value| {
        let text = format!("{}.{}", part(&header), part(&Minter::claims(&ada)));
        format!("{text}.{}", minter.sign(&text))
    };
    let good = json!({ "alg": "RS256", "typ": "at+jwt", "kid": "older" });
    ada.with_token(&token(good)).get("/api/v1/users/me").await.expect(200);
    for crit in [json!(["b64"]), json!(["exp"]), json!([])] {
        let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": "older", "b64": true, "crit": crit });
        assert_eq!(ada.with_token(&token(header)).get("/api/v1/users/me").await.problem(401), "unauthenticated");
    }
}

#[db_test]
async fn plain_http_leads_only_to_networks_that_the_operator_allows(database: Database) {
    let receiver = Receiver::start(&[200]).await;
    let host = Host::start_with(database, Options::default().set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8,::1/128")).await;
    let ada = host.tenant("acme").await;
    let to = |url: &str| json!({ "url": url, "event_types": ["role.created"] });
    for bad in ["http://example.org/", "http://one.one.one.one/", "http://1.1.1.1/"] {
        assert_eq!(ada.post("/api/v1/webhooks", &to(bad)).await.problem(422), "invalid", "{bad}");
    }
    let by_name = receiver.url.replace("127.0.0.1", "localhost");
    ada.post("/api/v1/webhooks", &to(&by_name)).await.expect(201);
    ada.post("/api/v1/roles", &json!({ "name": "clerk" })).await.expect(201);
    receiver.wait_for(1, Duration::from_secs(20)).await;
}

#[db_test]
async fn what_a_plugin_is_granted_is_said_by_whoever_enables_it(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["probe"]).await;
    let ada = host.tenant("acme").await;
    let answer = ada.post("/api/v1/installations", &json!({ "plugin": "probe" })).await;
    assert_eq!(answer.status, 422);
    let told = answer.body["errors"][0].to_string();
    assert!(told.contains("/grants") && told.contains("users:read"), "{told}");
    let versions = ada.get("/api/v1/plugins/probe/versions/0.1.0").await.expect(200);
    assert!(versions.to_string().contains("requested_permissions"), "{versions:#}");
    let wrong = json!({ "plugin": "probe", "grants": ["*:*"] });
    assert_eq!(ada.post("/api/v1/installations", &wrong).await.problem(422), "invalid");
    ada.enable("probe").await;
}

#[db_test]
async fn the_last_operator_stays_and_the_command_line_makes_another(database: Database) {
    let host = Host::start(database).await;
    let operator = host.operator().await;
    let me = path_of(&operator);
    for answer in [operator.delete(&me).await, operator.patch(&me, &json!({ "is_active": false })).await] {
        assert!([403, 409].contains(&answer.status), "{:#}", answer.body);
    }
    host.member(&operator, "second@purlin.local", &["admin"]).await;
    let run = |arguments: &[&str]| {
        let output = Host::command(&host.database, &Options::default(), arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (done, told) = run(&["operator", "add", "second@purlin.local"]);
    assert!(done && told.contains("second@purlin.local"), "{told}");
    assert!(!run(&["operator", "add", "nobody@purlin.local"]).0);
    let (_, told) = run(&["operator", "list"]);
    assert!(told.contains("operator@purlin.local") && told.contains("second@purlin.local"), "{told}");
    let login = json!({ "email": "second@purlin.local", "password": PASSWORD });
    let second = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    second.get("/api/v1/tenants").await.expect(200);
    operator.delete(&me).await.expect(204);
}

#[db_test]
async fn an_export_ends_with_what_it_was_begun_by(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    // More rows than the buffers between here and there hold.
    let text = "x".repeat(10_000);
    let by = ada.me["tenant"]["id"].as_str().unwrap();
    let rows = if host.database.is_postgres() {
        format!(
            "INSERT INTO audit_log (tenant_id, id, actor_kind, actor, action, resource_type, changes, request_id, created_at)
             SELECT '{by}', gen_random_uuid(), 'system', 'purlin', 'x.y', 'x', jsonb_build_object('t', '{text}'), 'r', now()
             FROM generate_series(1, 2000)"
        )
    } else {
        format!(
            "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 2000)
             INSERT INTO audit_log (tenant_id, id, actor_kind, actor, action, resource_type, changes, request_id, created_at)
             SELECT x'{}', randomblob(16), 'system', 'purlin', 'x.y', 'x', json_object('t', '{text}'), 'r',
                strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now') FROM s",
            by.replace('-', "")
        )
    };
    host.database.execute(&rows).await;
    let bob = host.member(&ada, "bob@acme.example", &["admin"]).await;
    let mut answer = bob.request(Method::GET, "/api/v1/audit-logs/export").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.chunk().await.unwrap();
    bob.post("/api/v1/auth/logout", &json!({})).await.expect(204);
    let mut bytes = 0;
    let ended = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(ended, "it went on to its end: {bytes} bytes");
    // One whose caller stays signed in comes whole.
    let whole = ada.request(Method::GET, "/api/v1/audit-logs/export").send().await.unwrap().text().await.unwrap();
    assert!(whole.lines().count() > 2_000);
}
