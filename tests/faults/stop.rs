//! A host that is told to stop ends what it began.

use std::time::Duration;

use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host, Options};

#[db_test]
async fn a_job_that_runs_when_the_host_is_told_to_stop_ends_first(database: Database) {
    let mut host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.post("/api/v1/jobs", &json!({ "kind": "probe.spin" })).await.expect(202);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    while ada.get(&path).await.expect(200)["state"] == "ready" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(host.stop().await);
    host.restart(Options::default()).await;
    let job = ada.at(&host.base).get(&path).await.expect(200);
    assert_eq!((&job["state"], &job["crashes"]), (&json!("dead"), &json!(0)), "its end was written before the host's");
}
