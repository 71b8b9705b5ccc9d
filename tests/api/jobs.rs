use std::{
    fs,
    time::{Duration, SystemTime},
};

use purlin_test_macros::db_test;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Database, Host, Options};

#[db_test]
async fn a_job_is_enqueued_run_and_its_result_kept(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.run("probe.echo", json!({ "hello": "world" })).await;
    assert_eq!(
        (&job["state"], &job["result"], &job["attempt"]),
        (&json!("succeeded"), &json!({ "hello": "world" }), &json!(1))
    );
    assert_eq!(job["caused_by"], ada.me["user"]["id"]);
    let status = ada.get(&format!("/api/v1/jobs/{}/status", job["id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&status["state"], status.get("payload")), (&json!("succeeded"), None));
    assert_eq!(ada.rows("/api/v1/audit-logs?filter[action]=job.enqueued").await.len(), 1);
}

#[db_test]
async fn a_unique_key_admits_one_unfinished_job(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let request = json!({ "kind": "probe.echo", "delay_ms": 700, "unique_key": "nightly" });
    let first = ada.post("/api/v1/jobs", &request).await.expect(202);
    let second = ada.post("/api/v1/jobs", &request).await.expect(202);
    assert_eq!(first["id"], second["id"]);
    ada.wait_for_job(first["id"].as_str().unwrap()).await;
    assert_ne!(ada.post("/api/v1/jobs", &request).await.expect(202)["id"], first["id"]);
}

#[db_test]
async fn a_job_that_nobody_runs_is_refused(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for request in [
        json!({ "kind": "probe.unknown" }),
        json!({ "kind": "crm.sync" }),
        json!({ "kind": "" }),
        json!({ "kind": "probe.echo", "unique_key": "" }),
    ] {
        assert_eq!(ada.post("/api/v1/jobs", &request).await.problem(422), "invalid");
    }
}

#[db_test]
async fn a_failing_job_is_retried_then_succeeds_and_its_first_attempt_leaves_nothing(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.run("probe.fail-once", json!({})).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(2)));
    let notes = ada.rows("/api/v1/apps/probe/notes").await;
    assert_eq!((notes.len(), &notes[0]["data"]["text"]), (1, &json!("attempt 2")));
}

#[db_test]
async fn many_jobs_are_enqueued_together_or_not_at_all(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let batch =
        |kinds: &[&str]| json!({ "jobs": kinds.iter().map(|kind| json!({ "kind": kind })).collect::<Vec<_>>() });
    let enqueued = ada.post("/api/v1/jobs/batch", &batch(&["probe.echo", "ping"])).await.expect(202);
    for id in enqueued["ids"].as_array().unwrap() {
        assert_eq!(ada.wait_for_job(id.as_str().unwrap()).await["state"], "succeeded");
    }
    let refused = ada.post("/api/v1/jobs/batch", &batch(&["ping", "probe.unknown"])).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/jobs/1/kind");
    assert_eq!(ada.post("/api/v1/jobs/batch", &batch(&[])).await.problem(422), "invalid");
    assert_eq!(ada.rows("/api/v1/jobs?filter[kind]=ping").await.len(), 1, "nothing of what was refused");
}

#[db_test]
async fn a_job_that_waits_is_cancelled_at_once_and_one_that_runs_is_stopped(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let later = ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo", "delay_ms": 3_600_000 })).await.expect(202);
    assert_eq!(later["state"], "scheduled");
    let path = |job: &Value, verb: &str| format!("/api/v1/jobs/{}/{verb}", job["id"].as_str().unwrap());
    assert_eq!(ada.post(&path(&later, "cancel"), &json!({})).await.expect(200)["state"], "cancelled");
    assert_eq!(ada.post(&path(&later, "cancel"), &json!({})).await.problem(409), "ended");

    let long = json!({ "kind": "probe.sleep", "payload": { "ms": 15_000 } });
    let running = ada.post("/api/v1/jobs", &long).await.expect(202);
    for _ in 0..200 {
        if ada.get(&path(&running, "status")).await.expect(200)["state"] == "running" {
            break;
        }
        sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(ada.get(&path(&running, "why")).await.expect(200)["code"], "running");
    let asked = ada.post(&path(&running, "cancel"), &json!({})).await.expect(200);
    assert!(asked["cancel_at"].is_string(), "{asked:#}");
    let ended = ada.wait_for_job(running["id"].as_str().unwrap()).await;
    assert_eq!((&ended["state"], &ended["last_error"]), (&json!("cancelled"), &json!("cancelled while it ran")));
    assert_eq!(ada.rows("/api/v1/audit-logs?filter[action]=job.cancelled").await.len(), 2);
}

#[db_test]
async fn dead_letters_are_retried_one_by_one_or_many_at_once_or_thrown_away(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let mut dead = Vec::new();
    for _ in 0..4 {
        let job = ada.run("probe.write-then-fail", json!({})).await;
        assert_eq!(job["state"], "dead");
        dead.push(job["id"].as_str().unwrap().to_owned());
    }
    let why = ada.get(&format!("/api/v1/jobs/{}/why", dead[0])).await.expect(200);
    assert!(why["code"] == "dead" && why["why"].as_str().unwrap().contains("failed after writing"), "{why:#}");
    assert_eq!(ada.post(&format!("/api/v1/jobs/{}/retry", dead[0]), &json!({})).await.expect(200)["state"], "ready");
    assert_eq!(ada.wait_for_job(&dead[0]).await["state"], "dead");
    ada.delete(&format!("/api/v1/jobs/{}", dead[1])).await.expect(204);
    assert_eq!(ada.get(&format!("/api/v1/jobs/{}", dead[1])).await.status, 404);
    let none = ada.post("/api/v1/jobs/retry", &json!({ "kind": "probe.echo" })).await.expect(200);
    let some = ada.post("/api/v1/jobs/retry", &json!({ "kind": "probe.write-then-fail" })).await.expect(200);
    assert_eq!((&none["count"], &some["count"]), (&json!(0), &json!(3)));
    let done = ada.run("probe.echo", json!({})).await;
    let path = format!("/api/v1/jobs/{}", done["id"].as_str().unwrap());
    assert_eq!(ada.post(&format!("{path}/retry"), &json!({})).await.problem(409), "not_dead");
    assert_eq!(ada.delete(&path).await.problem(409), "not_dead");
}

#[db_test]
async fn what_is_paused_waits_and_says_why_and_runs_once_it_is_resumed(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let pause = json!({ "kind": "probe.echo", "reason": "the books are closed" });
    ada.post("/api/v1/job-pauses", &pause).await.expect(201);
    let waits = ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo" })).await.expect(202);
    let id = waits["id"].as_str().unwrap();
    assert_eq!(ada.run("ping", json!({})).await["state"], "succeeded", "other kinds run");
    let why = ada.get(&format!("/api/v1/jobs/{id}/why")).await.expect(200);
    assert!(why["code"] == "paused" && why["why"].as_str().unwrap().contains("the books are closed"), "{why:#}");
    assert_eq!(ada.rows("/api/v1/job-pauses").await.len(), 1);
    assert_eq!(ada.post("/api/v1/job-pauses", &json!({})).await.problem(422), "invalid", "all of them by name alone");
    ada.delete("/api/v1/job-pauses/*/probe.echo").await.expect(204);
    assert_eq!(ada.wait_for_job(id).await["state"], "succeeded");
    assert_eq!(ada.delete("/api/v1/job-pauses/*/probe.echo").await.status, 404);
}

#[db_test]
async fn a_member_enqueues_jobs_but_neither_cancels_nor_pauses_them(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let bob = host.member(&ada, "bob@acme.example", &["member"]).await;
    let job = bob.post("/api/v1/jobs", &json!({ "kind": "ping", "delay_ms": 60_000 })).await.expect(202);
    let cancel = format!("/api/v1/jobs/{}/cancel", job["id"].as_str().unwrap());
    assert_eq!(bob.post(&cancel, &json!({})).await.problem(403), "forbidden");
    assert_eq!(bob.post("/api/v1/job-pauses", &json!({})).await.problem(403), "forbidden");
    ada.post(&cancel, &json!({})).await.expect(200);
}

#[db_test]
async fn a_plan_bounds_the_jobs_that_wait(database: Database) {
    let plans = json!({
        "standard": { "queued_jobs_max": 3 }, "free": {}, "unlimited": {}
    });
    let host = Host::start_with(database, Options::default().set("PURLIN_PLANS", plans)).await;
    let ada = host.tenant("acme").await;
    // The welcome mail of whoever registered is sent.
    ada.settle().await;
    let later = json!({ "kind": "ping", "delay_ms": 60_000 });
    for _ in 0..3 {
        ada.post("/api/v1/jobs", &later).await.expect(202);
    }
    assert_eq!(ada.post("/api/v1/jobs", &later).await.problem(422), "limit");
}

#[db_test]
async fn a_report_is_made_by_a_job_and_read_by_whoever_may_see_what_is_in_it(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for n in 0..5 {
        ada.create("probe/notes", json!({ "text": format!("note, {n}"), "n": n })).await;
    }
    let order =
        json!({ "of": "apps/probe/notes", "format": "csv", "filter": { "field": "n", "op": "gte", "value": 1 } });
    let job = ada.run("generate_report", order).await;
    assert_eq!(
        (&job["state"], &job["result"]["rows"], &job["progress"]),
        (&json!("succeeded"), &json!(4), &json!(100)),
        "{job:#}"
    );
    let path = format!("/api/v1/jobs/{}/file", job["id"].as_str().unwrap());
    let file = ada.get(&path).await;
    assert_eq!(file.headers["content-type"], "text/csv; charset=utf-8");
    let text = file.body.as_str().unwrap();
    assert!(text.lines().count() == 5 && text.contains("\"note, 3\""), "{text}");
    let users = ada.run("generate_report", json!({ "of": "users", "format": "ndjson" })).await;
    let file = ada.get(&format!("/api/v1/jobs/{}/file", users["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(file["email"], "admin@acme.example", "one line is one document");
    let role = json!({ "name": "clerk", "permissions": ["jobs:*"] });
    let role = ada.post("/api/v1/roles", &role).await.expect(201);
    let bob = json!({ "email": "bob@acme.example", "password": "correct horse battery", "role_ids": [role["id"]] });
    ada.post("/api/v1/users", &bob).await.expect(201);
    let login = json!({ "email": "bob@acme.example", "password": "correct horse battery", "tenant": "acme" });
    let bob = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    assert_eq!(bob.get(&path).await.problem(403), "forbidden");
    let order = json!({ "kind": "generate_report", "payload": { "of": "users", "format": "csv" } });
    assert_eq!(bob.post("/api/v1/jobs", &order).await.problem(403), "forbidden");
    for (payload, pointer) in [
        (json!({ "of": "sessions", "format": "csv" }), "/payload/of"),
        (json!({ "of": "apps/inventory/nope", "format": "csv" }), "/payload/of"),
        (
            json!({ "of": "users", "format": "csv", "filter": { "field": "zz", "op": "eq", "value": 1 } }),
            "/payload/filter/field",
        ),
    ] {
        let refused = ada.post("/api/v1/jobs", &json!({ "kind": "generate_report", "payload": payload })).await;
        let found = &refused.body["errors"][0]["pointer"];
        assert_eq!((refused.status, found), (422, &json!(pointer)), "{:#}", refused.body);
    }
}

#[db_test]
async fn a_report_is_deleted_once_its_job_is_forgotten(database: Database) {
    let mut host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let order = json!({ "of": "users", "format": "csv" });
    let mut files = Vec::new();
    for _ in 0..2 {
        let job = ada.run("generate_report", order.clone()).await;
        let tenant = ada.me["tenant"]["id"].as_str().unwrap();
        let folder = host.database.directory.path().join("files").join(tenant).join("reports");
        files.push(folder.join(job["id"].as_str().unwrap()));
    }
    // As if it had been made long ago.
    let long_ago = SystemTime::UNIX_EPOCH;
    fs::File::options().write(true).open(&files[0]).unwrap().set_modified(long_ago).unwrap();
    assert!(host.stop().await);
    host.restart(Options::default()).await;
    while files[0].exists() {
        sleep(Duration::from_millis(50)).await;
    }
    assert!(files[1].exists(), "one that is not old stays");
}
