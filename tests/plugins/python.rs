//! A guest in another language, whose runtime imports what no guest gets.

use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host, find_component, skipped};

#[db_test]
async fn a_python_component_runs_and_is_refused_files_and_sockets_call_by_call(database: Database) {
    let Some(component) = find_component("snake") else { return skipped("the guest in Python") };
    let host = Host::start(database).await;
    let version = host.operator().await.upload(component).await.expect(201);
    let imports = version["report"]["imports"].to_string();
    assert!(imports.contains("wasi:sockets/") && imports.contains("wasi:filesystem/"), "{imports}");
    let ada = host.tenant("acme").await;
    ada.enable("snake").await;
    let job = ada.run("snake.try", json!({})).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let result = &job["result"];
    for (what, came) in result["tried"].as_object().unwrap() {
        // No directory is open to look in; no address may be used, and none is found.
        let expected: &[&str] = match what.as_str() {
            "connect" | "listen" | "datagram" => &["PermissionError"],
            "resolve" => &["gaierror", "PermissionError"],
            _ => &["FileNotFoundError", "PermissionError"],
        };
        assert!(came["refused"].as_str().is_some_and(|name| expected.contains(&name)), "{what}: {came}");
    }
    assert_eq!((&result["environment"], &result["random"], &result["is_past"]), (&json!({}), &json!(8), &json!(true)));
    let rows = ada.rows("/api/v1/apps/snake/skins").await;
    assert_eq!((rows.len(), &rows[0]["id"], &rows[0]["data"]["text"]), (1, &result["id"], &json!("from Python")));
    ada.settle().await;
    let log = ada.log_of("snake").await;
    for line in ["a line on standard output", "handled snake.skins.created"] {
        assert!(log.iter().any(|logged| logged.contains(line)), "{line}: {log:?}");
    }
}
