//! Whatever a tenant can make the host store counts, and at the ceiling people still sign in, delete
//! and keep others out.

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host, Options};

const OTHER_BYTES_MAX: i64 = 60_000;

/// Change the settings until there is no room left; how many changes were made.
async fn fill(ada: &Client) -> usize {
    for n in 0..200 {
        let settings = json!({ "settings": { "filler": format!("{n}{}", "x".repeat(2_000)) } });
        let request = ada.request(Method::PATCH, "/api/v1/tenants/me").header("idempotency-key", format!("key-{n}"));
        let answer = ada.send(request.json(&settings)).await;
        if answer.status != 200 {
            let refused = answer.expect(422);
            assert_eq!((&refused["code"], &refused["detail"]), (&json!("limit"), &json!("limit: other_bytes")));
            return n;
        }
    }
    panic!("there is always room");
}

#[db_test]
async fn at_the_ceiling_people_sign_in_delete_and_revoke_and_nothing_grows(database: Database) {
    let plans = json!({ "standard": { "other_bytes_max": OTHER_BYTES_MAX }, "large": {}, "unlimited": {} });
    let host = Host::start_with(database, Options::default().set("PURLIN_PLANS", plans)).await;
    let ada = host.tenant_with("acme", "probe").await;
    let bob = host.member(&ada, "bob@acme.example", &["member"]).await;
    let eve = host.member(&ada, "eve@acme.example", &["member"]).await;
    let id = |client: &Client| client.me["user"]["id"].as_str().unwrap().to_owned();
    let note = ada.create("probe/notes", json!({ "text": "a" })).await;
    let key = ada.post("/api/v1/api-keys", &json!({ "name": "k", "scopes": ["users:read"] })).await.expect(201);
    let role = ada.post("/api/v1/roles", &json!({ "name": "r", "permissions": [] })).await.expect(201);
    let webhook = json!({ "url": "https://example.com/hook", "event_types": ["user.*"] });
    let webhook = ada.post("/api/v1/webhooks", &webhook).await.expect(201);
    ada.settle().await;
    let changes = fill(&ada).await;
    assert!((2..40).contains(&changes), "{changes} changes");
    // What was answered is answered again.
    let first = json!({ "settings": { "filler": format!("0{}", "x".repeat(2_000)) } });
    let again = ada.request(Method::PATCH, "/api/v1/tenants/me").header("idempotency-key", "key-0").json(&first);
    let again = ada.send(again).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    again.expect(200);
    let usage = ada.get("/api/v1/tenants/me/usage").await.expect(200);
    let used = usage["other_bytes"]["used"].as_i64().unwrap();
    assert!((OTHER_BYTES_MAX..OTHER_BYTES_MAX + 20_000).contains(&used), "{usage:#}");
    for kind in ["answers", "audit", "events", "state", "jobs"] {
        assert!(usage["other_bytes_of"][kind].as_i64().unwrap() > 0, "{kind}: {usage:#}");
    }

    let user = json!({ "email": "new@acme.example" });
    for (path, body) in [
        ("/api/v1/users", user),
        ("/api/v1/roles", json!({ "name": "new", "permissions": [] })),
        ("/api/v1/jobs", json!({ "kind": "probe.echo", "payload": {} })),
        ("/api/v1/events", json!({ "type": "probe.pinged", "data": {} })),
        ("/api/v1/apps/probe/notes", json!({ "text": "new" })),
        ("/api/v1/apps/probe/-/script", json!({ "calls": [{ "do": "create", "collection": "effects", "data": {} }] })),
    ] {
        assert_eq!(ada.post(path, &body).await.problem(422), "limit", "{path}");
    }
    // Reading, also by a plugin, takes no room.
    ada.post("/api/v1/apps/probe/-/script", &json!({ "calls": [{ "do": "count", "collection": "notes" }] }))
        .await
        .expect(200);

    let login = json!({ "email": "bob@acme.example", "password": "correct horse battery", "tenant": "acme" });
    let again = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    again.post("/api/v1/auth/logout", &json!({})).await.expect(204);
    ada.patch(&format!("/api/v1/users/{}", id(&bob)), &json!({ "is_active": false })).await.expect(200);
    ada.patch(&format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap()), &json!({ "is_enabled": false }))
        .await
        .expect(200);
    let gone = [
        format!("/api/v1/users/{}", id(&eve)),
        format!("/api/v1/apps/probe/notes/{note}"),
        format!("/api/v1/api-keys/{}", key["id"].as_str().unwrap()),
        format!("/api/v1/roles/{}", role["id"].as_str().unwrap()),
        format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap()),
    ];
    for path in &gone {
        ada.delete(path).await.expect(204);
    }
    ada.post(&format!("/api/v1/users/{}/erase", id(&eve)), &json!({})).await.expect(202);
    // What was done is in the log.
    let rows = ada.rows("/api/v1/audit-logs?page[size]=200").await;
    for action in ["user.deleted", "webhook.deleted", "role.deleted", "probe.notes.deleted", "session.opened"] {
        assert!(rows.iter().any(|row| row["action"] == action), "{action}");
    }
    ada.delete("/api/v1/installations/probe").await.expect(204);
    ada.post("/api/v1/installations/probe/purge", &json!({ "confirm": "probe" })).await.expect(202);
    // With a larger plan all is as before.
    let path = format!("/api/v1/tenants/{}", ada.me["tenant"]["id"].as_str().unwrap());
    host.operator().await.patch(&path, &json!({ "plan": "large" })).await.expect(200);
    ada.post("/api/v1/roles", &json!({ "name": "new", "permissions": [] })).await.expect(201);
}

#[db_test]
async fn what_was_counted_is_forgotten_with_what_it_is_of(database: Database) {
    let plans = json!({ "standard": { "other_bytes_max": OTHER_BYTES_MAX, "audit_days": 1 }, "unlimited": {} });
    let host = Host::start_with(database, Options::default().set("PURLIN_PLANS", plans)).await;
    let ada = host.tenant("acme").await;
    fill(&ada).await;
    let used = async |kind: &str| {
        let usage = ada.get("/api/v1/tenants/me/usage").await.expect(200);
        usage["other_bytes_of"][kind].as_i64().unwrap_or_default()
    };
    let (answers, audit, events) = (used("answers").await, used("audit").await, used("events").await);
    assert!(answers > 0 && audit > 0 && events > 0);
    // It is written down within seconds, so that other hosts and a later one know.
    let written = "SELECT count(*) FROM stored_bytes WHERE kind = 'answers'";
    for _ in 0..200 {
        if host.database.count(written).await > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let long_ago = if host.database.is_postgres() { "2020-01-01T00:00:00Z" } else { "2020-01-01T00:00:00+00:00" };
    host.database.execute(&format!("UPDATE stored_bytes SET day = '{long_ago}'")).await;
    assert!(used("answers").await < answers, "an answer is kept for a day");
    assert!(used("audit").await < audit, "rows of the log are kept for as long as the plan says");
    assert!(used("events").await >= events, "events are kept");
}

#[db_test]
async fn every_way_to_enqueue_keeps_to_the_ceiling_of_jobs_that_wait(database: Database) {
    let plans = json!({ "standard": { "queued_jobs_max": 5 }, "unlimited": {} });
    let host = Host::start_with(database, Options::default().set("PURLIN_PLANS", plans)).await;
    let ada = host.tenant_with("acme", "probe").await;
    ada.settle().await;
    let event = ada.post("/api/v1/events", &json!({ "type": "probe.idle", "data": {} })).await.expect(201);
    let dead = ada.run("probe.write-then-fail", json!({})).await;
    assert_eq!(dead["state"], "dead");
    let schedule = ada.rows("/api/v1/schedules").await[0]["id"].as_str().unwrap().to_owned();
    ada.settle().await;
    ada.post("/api/v1/job-pauses", &json!({ "kind": "*" })).await.expect(201);
    let echo = json!({ "kind": "probe.echo", "payload": {} });
    let mut waiting = 0;
    while ada.post("/api/v1/jobs", &echo).await.status == 202 {
        waiting += 1;
        assert!(waiting <= 5);
    }
    let (event, dead) = (event["id"].as_str().unwrap(), dead["id"].as_str().unwrap());
    let many: Value = json!({ "since": "2020-01-01T00:00:00Z", "plugin": "probe" });
    for (path, body) in [
        ("/api/v1/jobs".to_owned(), json!({ "kind": "probe.echo", "payload": {} })),
        (format!("/api/v1/events/{event}/replay"), json!({ "plugin": "probe" })),
        ("/api/v1/events/replay".to_owned(), many),
        (format!("/api/v1/jobs/{dead}/retry"), json!({})),
        ("/api/v1/jobs/retry".to_owned(), json!({ "kind": "probe.write-then-fail" })),
        (format!("/api/v1/schedules/{schedule}/run"), json!({})),
    ] {
        let refused = ada.post(&path, &body).await.expect(422);
        assert_eq!(refused["detail"], "limit: queued_jobs", "{path}: {refused:#}");
    }
    ada.delete("/api/v1/job-pauses/*/*").await.expect(204);
    ada.settle().await;
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    ada.post(&format!("/api/v1/jobs/{dead}/retry"), &json!({})).await.expect(200);
}
