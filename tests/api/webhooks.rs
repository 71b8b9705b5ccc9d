use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use purlin_test_macros::db_test;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Database, Host, Options, Receiver};

fn local() -> Options {
    Options::default().set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8")
}

/// Whether one of the signatures of a delivery is that of this secret.
fn is_signed(delivery: &crate::support::Delivery, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let timestamp: i64 = delivery.header("webhook-timestamp").parse().unwrap();
    let expected = purlin_service::webhooks::sign(&key, delivery.header("webhook-id"), timestamp, &delivery.body);
    delivery.header("webhook-signature").split(' ').any(|signature| signature == expected)
}

#[db_test]
async fn an_event_is_sent_signed_and_again_until_it_is_taken(database: Database) {
    let receiver = Receiver::start(&[500, 200]).await;
    let host = Host::start_with(database, local()).await;
    let ada = host.tenant("acme").await;
    let new = json!({ "url": receiver.url, "event_types": ["role.*"], "description": "to the ledger" });
    let webhook = ada.post("/api/v1/webhooks", &new).await.expect(201);
    let (id, secret) = (webhook["id"].as_str().unwrap(), webhook["secret"].as_str().unwrap());
    assert!(ada.get(&format!("/api/v1/webhooks/{id}")).await.expect(200).get("secret").is_none(), "shown once");
    ada.post("/api/v1/roles", &json!({ "name": "ops", "permissions": ["jobs:read"] })).await.expect(201);
    let deliveries = receiver.wait_for(2, Duration::from_secs(30)).await;
    for delivery in &deliveries {
        assert!(is_signed(delivery, secret));
        assert_eq!(delivery.header("content-type"), "application/cloudevents+json; charset=utf-8");
        let event: Value = serde_json::from_slice(&delivery.body).unwrap();
        assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("role.created")));
        assert_eq!(event["id"], delivery.header("webhook-id"), "the same id each time");
    }
    ada.settle().await;
    let sent = ada.rows(&format!("/api/v1/webhooks/{id}/deliveries")).await;
    assert_eq!((sent.len(), &sent[0]["state"], &sent[0]["attempt"]), (1, &json!("succeeded"), &json!(2)));
    assert_eq!(ada.get(&format!("/api/v1/webhooks/{id}")).await.expect(200)["failing_since"], Value::Null);

    let rotated = ada.post(&format!("/api/v1/webhooks/{id}/rotate-secret"), &json!({})).await.expect(200);
    ada.post(&format!("/api/v1/webhooks/{id}/test"), &json!({})).await.expect(202);
    let last = receiver.wait_for(3, Duration::from_secs(20)).await.pop().unwrap();
    assert!(is_signed(&last, secret) && is_signed(&last, rotated["secret"].as_str().unwrap()), "both, for a day");
    assert_eq!(serde_json::from_slice::<Value>(&last.body).unwrap()["type"], "webhook.test");
    let event = ada.rows("/api/v1/events?filter[type]=role.created").await;
    let replay = format!("/api/v1/events/{}/replay", event[0]["id"].as_str().unwrap());
    ada.post(&replay, &json!({ "webhook_id": id })).await.expect(202);
    let again = receiver.wait_for(4, Duration::from_secs(20)).await.pop().unwrap();
    assert_eq!(again.header("webhook-id"), event[0]["id"]);
}

#[db_test]
async fn a_webhook_that_takes_nothing_is_disabled_with_a_notice(database: Database) {
    let receiver = Receiver::start(&[410]).await;
    let host = Host::start_with(database, local()).await;
    let ada = host.tenant("acme").await;
    let webhook =
        ada.post("/api/v1/webhooks", &json!({ "url": receiver.url, "event_types": ["**"] })).await.expect(201);
    let path = format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    let mut disabled = Value::Null;
    for _ in 0..200 {
        disabled = ada.get(&path).await.expect(200);
        if disabled["is_enabled"] == false {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(disabled["disabled_reason"].as_str().unwrap().contains("410"), "{disabled:#}");
    let mail = host.mailbox().wait("admin@acme.example", "was disabled", 1).await.remove(0);
    assert!(mail.body.contains(&receiver.url), "{}", mail.body);
    assert_eq!(ada.rows("/api/v1/events?filter[type]=webhook.disabled").await.len(), 1);
    assert_eq!(ada.patch(&path, &json!({ "is_enabled": true })).await.expect(200)["disabled_reason"], Value::Null);
    ada.delete(&path).await.expect(204);
    assert_eq!(ada.get(&path).await.status, 404);
}

#[db_test]
async fn a_webhook_leads_to_the_open_internet_alone_and_never_through_a_redirect(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for url in [
        "http://example.org/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://u:p@example.org/",
        "file:///etc/passwd",
        "",
    ] {
        let new = json!({ "url": url, "event_types": ["**"] });
        assert_eq!(ada.post("/api/v1/webhooks", &new).await.problem(422), "invalid", "{url}");
    }
    // A name that leads here is refused when it is resolved.
    let new = json!({ "url": "https://localhost:9/", "event_types": ["webhook.test"] });
    let webhook = ada.post("/api/v1/webhooks", &new).await.expect(201);
    let test = format!("/api/v1/webhooks/{}/test", webhook["id"].as_str().unwrap());
    let job = ada.post(&test, &json!({})).await.expect(202);
    let job = ada.wait_for_job(job["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "dead");
    assert!(job["last_error"].as_str().unwrap().contains("open internet"), "{job:#}");
}

#[db_test]
async fn a_redirect_is_not_followed(database: Database) {
    let sentinel = Receiver::start(&[200]).await;
    let receiver = Receiver::redirecting_to(&sentinel.url).await;
    let host = Host::start_with(database, local()).await;
    let ada = host.tenant("acme").await;
    let new = json!({ "url": receiver.url, "event_types": ["webhook.test"] });
    let webhook = ada.post("/api/v1/webhooks", &new).await.expect(201);
    ada.post(&format!("/api/v1/webhooks/{}/test", webhook["id"].as_str().unwrap()), &json!({})).await.expect(202);
    receiver.wait_for(1, Duration::from_secs(20)).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(sentinel.count(), 0);
}

#[db_test]
async fn every_secret_that_was_promised_a_day_signs_for_a_day(database: Database) {
    let receiver = Receiver::start(&[200]).await;
    let host = Host::start_with(database, local()).await;
    let ada = host.tenant("acme").await;
    let new = json!({ "url": receiver.url, "event_types": ["role.created"] });
    let webhook = ada.post("/api/v1/webhooks", &new).await.expect(201);
    let path = format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    let mut secrets = vec![webhook["secret"].as_str().unwrap().to_owned()];
    for _ in 0..2 {
        let rotated = ada.post(&format!("{path}/rotate-secret"), &json!({})).await.expect(200);
        secrets.push(rotated["secret"].as_str().unwrap().to_owned());
    }
    ada.post("/api/v1/roles", &json!({ "name": "clerk" })).await.expect(201);
    let delivery = receiver.wait_for(1, Duration::from_secs(20)).await.pop().unwrap();
    assert!(secrets.iter().all(|secret| is_signed(&delivery, secret)));
    let event: Value = serde_json::from_slice(&delivery.body).unwrap();
    assert!(event["dataschema"].as_str().unwrap().starts_with("http://"), "{event}");
    // One that is disabled is not tried.
    ada.patch(&path, &json!({ "is_enabled": false })).await.expect(200);
    assert_eq!(ada.post(&format!("{path}/test"), &json!({})).await.problem(409), "webhook_disabled");
}

#[db_test]
async fn administrators_hear_of_a_webhook_that_nobody_answers_for_and_decide(database: Database) {
    let receiver = Receiver::start(&[200]).await;
    let host = Host::start_with(database, local()).await;
    let ada = host.tenant("acme").await;
    let role = json!({ "name": "hooks", "permissions": ["webhooks:create", "webhooks:read", "events:read"] });
    let role = ada.post("/api/v1/roles", &role).await.expect(201);
    let new = json!({ "email": "bob@acme.example", "password": "correct horse battery", "role_ids": [role["id"]] });
    let bob_id = ada.post("/api/v1/users", &new).await.expect(201)["id"].as_str().unwrap().to_owned();
    let login = json!({ "email": "bob@acme.example", "password": "correct horse battery", "tenant": "acme" });
    let bob = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    let hook = json!({ "url": receiver.url, "event_types": ["role.*"] });
    let hook = bob.post("/api/v1/webhooks", &hook).await.expect(201);
    let path = format!("/api/v1/webhooks/{}", hook["id"].as_str().unwrap());
    let publish = async |name: &str| {
        ada.post("/api/v1/roles", &json!({ "name": name, "permissions": [] })).await.expect(201);
        ada.settle().await;
        ada.get(&path).await.expect(200)
    };
    let before = publish("one").await;
    assert_eq!((&before["responsible_id"], &before["orphaned_at"]), (&json!(bob_id), &Value::Null), "{before:#}");
    ada.delete(&format!("/api/v1/users/{bob_id}/roles/{}", role["id"].as_str().unwrap())).await.expect(204);
    let orphaned = publish("two").await;
    assert!(orphaned["orphaned_at"].is_string() && orphaned["is_enabled"] == true, "{orphaned:#}");
    assert_eq!(ada.rows("/api/v1/events?filter[type]=webhook.orphaned").await.len(), 1);
    let mail = host.mailbox().wait("admin@acme.example", "Nobody answers", 1).await.remove(0);
    assert!(mail.body.contains(&receiver.url), "{}", mail.body);
    // It is the tenant's: what is published meanwhile is sent, and told of once.
    publish("three").await;
    receiver.wait_for(3, Duration::from_secs(20)).await;
    assert_eq!(host.mailbox().find("admin@acme.example", "Nobody answers").len(), 1);
    let adopted = ada.patch(&path, &json!({ "description": "it stays" })).await.expect(200);
    assert_eq!((&adopted["responsible_id"], &adopted["orphaned_at"]), (&ada.me["user"]["id"], &Value::Null));
    assert_eq!(publish("four").await["orphaned_at"], Value::Null);
}

#[db_test]
async fn changes_without_a_condition_do_not_refuse_each_other(database: Database) {
    let host = Host::start_with(database, local()).await;
    let ada = host.tenant_with("acme", "probe").await;
    let bob = host.member(&ada, "bob@acme.example", &[]).await;
    let hook = json!({ "url": "http://127.0.0.1:1/", "event_types": ["role.*"] });
    let hook = ada.post("/api/v1/webhooks", &hook).await.expect(201);
    let schedule = ada.rows("/api/v1/schedules").await[0]["id"].as_str().unwrap().to_owned();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    type Body = fn(usize) -> Value;
    let paths: [(String, Body); 4] = [
        (format!("/api/v1/webhooks/{}", text(&hook["id"])), |n| json!({ "description": n.to_string() })),
        (format!("/api/v1/users/{}", text(&bob.me["user"]["id"])), |n| json!({ "first_name": n.to_string() })),
        ("/api/v1/tenants/me".to_owned(), |n| json!({ "settings": { "n": n } })),
        (format!("/api/v1/schedules/{schedule}"), |n| json!({ "is_paused": n % 2 == 0 })),
    ];
    for (path, body) in &paths {
        let changes = (0..20).map(async |client| {
            let mut statuses = Vec::new();
            for n in 0..5 {
                statuses.push(ada.patch(path, &body(client * 5 + n)).await.status);
            }
            statuses
        });
        let statuses: Vec<u16> = futures_util::future::join_all(changes).await.concat();
        assert!(statuses.iter().all(|status| *status == 200), "{path}: {statuses:?}");
    }
}
