//! Plugins that cause themselves come to an end.

use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host};

#[db_test]
async fn an_event_that_causes_itself_ends_at_the_depth_limit(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    ada.create("probe/notes", json!({ "text": "ping" })).await;
    ada.settle().await;
    let pings = ada.rows("/api/v1/events?filter[type]=probe.pinged&sort=created_at").await;
    let depths: Vec<i64> = pings.iter().map(|ping| ping["depth"].as_i64().unwrap()).collect();
    assert_eq!(depths, (1..=15).collect::<Vec<_>>());
    for pair in pings.windows(2) {
        assert_eq!(pair[1]["caused_by"], pair[0]["id"]);
    }
    let dead = ada.rows("/api/v1/jobs?filter[state]=dead").await;
    assert_eq!((dead.len(), &dead[0]["last_error"]), (1, &json!("limit met: Limit::ChainDepth")));
}

#[db_test]
async fn a_chain_that_widens_without_end_ends_at_its_size(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    ada.settle().await;
    let enqueue =
        |kind: &str, payload: &serde_json::Value| json!({ "do": "enqueue", "kind": kind, "payload": payload });
    let echoes: Vec<_> = (0..90).map(|n| enqueue("probe.echo", &json!(n))).collect();
    let scripts: Vec<_> = (0..30).map(|_| enqueue("probe.script", &json!({ "calls": echoes }))).collect();
    ada.run("probe.script", json!({ "calls": scripts })).await;
    ada.settle().await;
    let caused = host.database.count("SELECT count(*) FROM all_jobs WHERE depth > 0").await;
    assert!((900..=1_000).contains(&caused), "{caused} of 2,730 jobs");
    let refused = "SELECT count(*) FROM all_jobs WHERE CAST(result AS text) LIKE '%ChainSize%'";
    assert!(host.database.count(refused).await > 0, "the guest hears of it");
    // Another chain begins anew.
    assert_eq!(ada.run("probe.echo", json!(1)).await["state"], "succeeded");
}
