//! Guests that go beyond every measure are stopped, reported, and bother nobody else.

use purlin_domain::clock::{Clock, SystemClock};
use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host};

async fn stopped(client: &Client, kind: &str, why: &str) {
    let job = client.run(kind, json!({})).await;
    assert_eq!(job["state"], "dead", "{kind}");
    let error = job["last_error"].as_str().unwrap();
    assert!(error.contains(why), "{kind}: {error}");
    let log = client
        .rows(&format!(
            "/api/v1/installations/probe/logs?filter[job_id]={}&filter[level]=error",
            job["id"].as_str().unwrap()
        ))
        .await;
    assert!(log.iter().any(|line| line["message"].as_str().unwrap().contains(why)), "{kind}: {log:?}");
}

/// What another tenant does meanwhile.
async fn as_if_nothing_were(other: &Client) {
    let item = other.create("inventory/items", json!({ "sku": SystemClock.id(), "name": "Bolt", "stock": 5 })).await;
    other.create("inventory/movements", json!({ "item_id": item, "quantity": 1 })).await;
    other.settle().await;
    assert_eq!(other.get(&format!("/api/v1/apps/inventory/items/{item}")).await.expect(200)["data"]["stock"], 6);
}

#[db_test]
async fn a_runaway_guest_is_stopped_reported_and_its_neighbours_are_served(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    host.upload(&["inventory"]).await;
    let bob = host.tenant("bolts").await;
    bob.enable("inventory").await;
    for (kind, why) in [
        ("probe.spin", "the cpu limit was met"),
        ("probe.grow", "the memory limit was met"),
        ("probe.flood", "the host_calls limit was met"),
        ("probe.recurse", "call stack exhausted"),
        ("probe.huge", "the call_bytes limit was met"),
    ] {
        stopped(&ada, kind, why).await;
        as_if_nothing_were(&bob).await;
    }
    assert_eq!(ada.run("probe.echo", json!(1)).await["result"], 1, "the plugin itself still runs");
}

#[db_test]
async fn a_guest_that_sleeps_is_stopped_by_the_wall_clock(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    stopped(&ada, "probe.wait", "the wall limit was met").await;
}

#[db_test]
async fn others_are_served_while_every_worker_runs_a_runaway_guest(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    host.upload(&["inventory"]).await;
    let bob = host.tenant("bolts").await;
    bob.enable("inventory").await;
    // Handlers, each stopped after 500 ms of CPU: eight of them fill every worker.
    for _ in 0..8 {
        ada.post("/api/v1/jobs", &json!({ "kind": "probe.spin" })).await.expect(202);
    }
    bob.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt" })).await;
    assert_eq!(bob.rows("/api/v1/apps/inventory/items").await.len(), 1);
    let open = ada.rows("/api/v1/jobs?filter[state][in]=ready,running").await;
    assert!(!open.is_empty(), "the runaway guests are still there while others are served");
}

#[db_test]
async fn a_limit_that_a_call_meets_is_an_error_the_guest_can_handle(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.run("probe.too-many-writes", json!({})).await;
    assert_eq!((&job["state"], &job["result"]["written"]), (&json!("succeeded"), &json!(500)), "{job:#}");
    assert!(job["result"]["error"].as_str().unwrap().contains("Writes"));
}

#[db_test]
async fn a_log_flood_is_cut_and_cannot_forge_lines(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    assert_eq!(ada.run("probe.shout", json!({})).await["state"], "succeeded");
    let log = ada.log_of("probe").await;
    let bytes: usize = log.iter().map(String::len).sum();
    assert!(bytes <= 64 << 10, "{bytes}");
    assert!(log.iter().all(|line| !line.contains(['\r', '\n', '\u{1b}'])));
    assert!(log[0].ends_with("\\r\\nforged line\\u{1b}[31m"), "{}", log[0]);
    assert!(log.last().unwrap().contains("lines were dropped"), "{log:?}");
}

#[db_test]
async fn a_guest_finds_no_files_no_environment_and_no_arguments(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.run("probe.escape", json!({})).await;
    assert_eq!(job["result"], json!({ "read": false, "write": false, "environment": 0, "arguments": 0 }), "{job:#}");
}

#[db_test]
async fn printing_ends_in_the_plugins_log(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.run("probe.write-then-panic", json!({})).await;
    let rows =
        ada.rows(&format!("/api/v1/installations/probe/logs?filter[job_id]={}", job["id"].as_str().unwrap())).await;
    let levels: Vec<&Value> = rows.iter().map(|row| &row["level"]).collect();
    assert!(
        levels.contains(&&json!("warn")) && levels.contains(&&json!("info")) && levels.contains(&&json!("error")),
        "{rows:?}"
    );
}
