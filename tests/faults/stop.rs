//! A host that is told to stop ends what it began.

use std::time::Duration;

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::json;

use crate::support::{Database, Host, Options};

#[db_test]
async fn a_job_that_runs_when_the_host_is_told_to_stop_ends_first(database: Database) {
    let file = database.directory.path().join("fault");
    let options = Options::default().set("PURLIN_FAULT_POINT", "slow-commit").set("PURLIN_FAULT_FILE", file.display());
    let mut host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.post("/api/v1/jobs", &json!({ "kind": "probe.everything" })).await.expect(202);
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The guest has returned; its commit comes in a second.
    assert!(host.stop().await);
    host.restart(Options::default()).await;
    let ada = ada.at(&host.base);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    let job = ada.get(&path).await.expect(200);
    assert_eq!((&job["state"], &job["crashes"]), (&json!("succeeded"), &json!(0)), "its end came before the host's");
    assert_eq!(ada.rows("/api/v1/apps/probe/notes").await.len(), 1);
}

#[db_test]
async fn a_host_whose_every_connection_is_busy_stops_when_told(database: Database) {
    let mut host = Host::start_with(database, Options::default().set("PURLIN_CONNECTIONS", 4)).await;
    let busy: Vec<_> = (0..8)
        .map(|_| {
            let client = host.anonymous();
            tokio::spawn(async move { while client.request(Method::GET, "/health/live").send().await.is_ok() {} })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(host.stop().await);
    for client in busy {
        client.await.unwrap();
    }
}

#[db_test]
async fn an_event_stream_ends_when_the_host_is_told_to_stop(database: Database) {
    let mut host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let stream = ada.request(Method::GET, "/api/v1/events/stream").send().await.unwrap();
    assert!(host.stop().await);
    assert!(stream.bytes().await.is_ok(), "it was cut off when the patience was over");
}

#[db_test]
async fn a_host_whose_log_nobody_reads_any_more_works_on_and_stops_when_told(database: Database) {
    let mut host = Host::start(database).await;
    host.stop_reading_its_log();
    let ada = host.tenant_with("acme", "probe").await;
    assert_eq!(ada.run("probe.echo", json!({ "still": "here" })).await["state"], "succeeded");
    assert!(host.stop().await);
}

#[db_test]
async fn a_job_whose_requester_hangs_up_is_run_by_the_worker_that_it_was_leased_to_or_was_never_added(
    database: Database,
) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    ada.post("/api/v1/jobs", &json!({ "kind": "ping" })).await.expect(202);
    let mut answered = 0;
    for n in 0..400u64 {
        let patience = Duration::from_micros(1_500 + n * 37 % 9_000);
        let request = ada.request(Method::POST, "/api/v1/jobs").json(&json!({ "kind": "ping" })).timeout(patience);
        answered += usize::from(request.send().await.is_ok());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ada.settle().await;
    let (mut path, mut found) = ("/api/v1/jobs?page[size]=200".to_owned(), 0);
    loop {
        let page = ada.get(&path).await.expect(200);
        for job in page["data"].as_array().unwrap() {
            // A rescue would say why it was needed.
            assert_eq!((&job["state"], &job["last_error"]), (&json!("succeeded"), &json!(null)), "{job:#}");
            found += 1;
        }
        let Some(next) = page["page"]["next"].as_str() else { break };
        path = format!("/api/v1/jobs?page[size]=200&page[after]={next}");
    }
    crate::support::measured!("{found} jobs ran, {answered} of 400 requests were answered");
    assert!(found >= answered);
}
