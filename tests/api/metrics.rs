//! What operators are told of jobs.

use std::net::TcpListener;

use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Database, Host, Options};

#[db_test]
async fn the_metrics_count_runs_of_every_kind_by_how_they_ended(database: Database) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options::default().set("PURLIN_METRICS_LISTEN", address);
    let host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    // One that does nothing, one that writes a file, and of a plugin's one that
    // writes, one that fails and one that fails once.
    let kinds = ["ping", "generate_report", "probe.effect", "probe.write-then-fail", "probe.fail-once"];
    for kind in kinds {
        let payload =
            if kind == "generate_report" { json!({ "of": "users", "format": "csv" }) } else { json!({ "n": 1 }) };
        ada.post("/api/v1/jobs", &json!({ "kind": kind, "payload": payload })).await.expect(202);
    }
    ada.settle().await;
    let page = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let runs = |kind: &str, outcome: &str| {
        let (kind, outcome) = (format!("kind=\"{kind}\""), format!("outcome=\"{outcome}\""));
        let mut lines = page.lines().filter(|line| line.starts_with("purlin_job_runs_total{"));
        let line =
            lines.find(|line| line.contains(&kind) && line.contains(&outcome) && line.contains("plan=\"standard\""));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    let told: Vec<Value> = kinds
        .iter()
        .map(|kind| json!([kind, runs(kind, "succeeded"), runs(kind, "retried"), runs(kind, "dead")]))
        .collect();
    let expected = json!([
        ["ping", 1.0, 0.0, 0.0],
        ["generate_report", 1.0, 0.0, 0.0],
        ["probe.effect", 1.0, 0.0, 0.0],
        ["probe.write-then-fail", 0.0, 0.0, 1.0],
        ["probe.fail-once", 1.0, 1.0, 0.0],
    ]);
    assert_eq!(Value::from(told), expected, "{page}");
    for of in ["wait", "run"] {
        let count = format!("purlin_job_{of}_seconds_count{{queue=\"default\",kind=\"ping\",plan=\"standard\"}} 1");
        assert!(page.lines().any(|line| line == count), "{count} in {page}");
    }
}
