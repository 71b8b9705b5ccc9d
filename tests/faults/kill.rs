//! kill -9 at named points: what was committed counts once, what was not leaves nothing.

use std::{path::PathBuf, time::Duration};

use purlin_test_macros::db_test;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Database, Host, Options};

/// A host that stops dead at `point`, telling so in a file.
fn stopping_at(point: &str, database: &Database) -> (Options, PathBuf) {
    let file = database.directory.path().join("fault");
    let options = Options::default().set("PURLIN_FAULT_POINT", point).set("PURLIN_FAULT_FILE", file.display());
    (options, file)
}

async fn reached(file: &PathBuf) {
    for _ in 0..600 {
        if file.exists() {
            std::fs::remove_file(file).unwrap();
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the fault point was not reached");
}

/// Book a movement, kill the host at the point, start it again, and see the stock moved once.
async fn moves_once(database: Database, point: &str, crashes: i64) {
    let (options, file) = stopping_at(point, &database);
    let mut host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let item =
        ada.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt", "stock": 20, "reorder_point": 10 })).await;
    assert!(host.stop().await);

    host.restart(options).await;
    let ada = ada.at(&host.base);
    ada.create("inventory/movements", json!({ "item_id": item, "quantity": -15 })).await;
    reached(&file).await;
    host.kill();

    host.restart(Options::default()).await;
    let ada = ada.at(&host.base);
    ada.settle().await;
    let record = ada.get(&format!("/api/v1/apps/inventory/items/{item}")).await.expect(200);
    assert_eq!((&record["data"]["stock"], &record["version"]), (&json!(5), &json!(2)), "killed {point}");
    let count = async |path: &str| ada.rows(path).await.len();
    assert_eq!(count("/api/v1/events?filter[type]=inventory.items.updated").await, 1);
    assert_eq!(count("/api/v1/events?filter[type]=inventory.stock.low").await, 1);
    assert_eq!(count("/api/v1/apps/inventory/suggestions").await, 1);
    assert_eq!(count("/api/v1/audit-logs?filter[action]=inventory.items.updated").await, 1);
    let delivery: Vec<Value> = ada.rows("/api/v1/jobs?filter[kind]=core.deliver").await;
    assert_eq!(
        (delivery.len(), &delivery[0]["state"], &delivery[0]["crashes"]),
        (1, &json!("succeeded"), &json!(crashes)),
        "killed {point}"
    );
}

#[db_test]
async fn killed_while_the_guest_runs_the_stock_moves_once(database: Database) {
    moves_once(database, "guest-running", 1).await;
}

#[db_test]
async fn killed_between_the_guests_return_and_the_commit_the_stock_moves_once(database: Database) {
    moves_once(database, "before-commit", 1).await;
}

#[db_test]
async fn killed_right_after_the_commit_the_stock_moves_once(database: Database) {
    moves_once(database, "after-commit", 0).await;
}

#[db_test]
async fn a_job_that_keeps_killing_its_worker_is_a_dead_letter_after_three_crashes(database: Database) {
    let (options, file) = stopping_at("before-commit", &database);
    let mut host = Host::start_with(database, options.clone()).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo" })).await.expect(202);
    for _ in 0..3 {
        reached(&file).await;
        host.kill();
        host.restart(options.clone()).await;
    }
    let job = ada.at(&host.base).wait_for_job(job["id"].as_str().unwrap()).await;
    assert_eq!((&job["state"], &job["crashes"]), (&json!("dead"), &json!(3)), "{job:#}");
    assert_eq!(job["last_error"], "the worker died while running it");
}
