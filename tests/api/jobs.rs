use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host};

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
