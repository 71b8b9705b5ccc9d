//! kill -9 at named points: what was committed counts once, what was not leaves nothing.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use crate::support::{Client, Database, Host, Options, figure, measured};

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
async fn a_job_that_keeps_killing_its_worker_is_the_only_dead_letter(database: Database) {
    let (options, file) = stopping_at("before-commit", &database);
    let mut host = Host::start_with(database, options.clone()).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo" })).await.expect(202);
    // Once among others, then three times alone.
    for _ in 0..4 {
        reached(&file).await;
        host.kill();
        host.restart(options.clone()).await;
    }
    let job = ada.at(&host.base).wait_for_job(job["id"].as_str().unwrap()).await;
    assert_eq!((&job["state"], &job["crashes"]), (&json!("dead"), &json!(4)), "{job:#}");
    assert_eq!(job["last_error"], "the worker died while running it");
}

/// Book movements of these items until `stop`, wherever the host listens; those that were
/// acknowledged, by item.
async fn book(ada: Client, base: Arc<Mutex<Option<String>>>, items: Vec<String>, n: usize) -> BTreeMap<String, i64> {
    let mut acknowledged = BTreeMap::new();
    for i in n.. {
        let Some(at) = base.lock().unwrap().clone() else { break };
        let item = &items[i % items.len()];
        let movement = json!({ "item_id": item, "quantity": 1 });
        let request = ada.at(&at).request(Method::POST, "/api/v1/apps/inventory/movements").json(&movement);
        match request.send().await {
            Ok(response) if response.status() == 201 => *acknowledged.entry(item.clone()).or_insert(0) += 1,
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
    acknowledged
}

/// Six clients book movements of four items while the host is killed again and again; beside
/// them runs a job that ends its host by itself. No movement is lost, none counts twice, and
/// nobody else's job becomes a dead letter.
#[db_test]
async fn killed_again_and_again_every_acknowledged_movement_is_booked_once(database: Database) {
    let kills = figure(8, 40);
    let options = Options::default().set("PURLIN_FAULT_ABORT", "probe.yearly").set("PURLIN_LEASE_SECONDS", 2);
    let mut host = Host::start_with(database, options.clone()).await;
    let ada = host.tenant_with("acme", "inventory").await;
    host.upload(&["probe"]).await;
    let eve = host.tenant("evil").await;
    eve.enable("probe").await;
    let mut items = Vec::new();
    for n in 0..4 {
        items.push(ada.create("inventory/items", json!({ "sku": format!("A-{n}"), "name": "Bolt" })).await);
    }
    let base = Arc::new(Mutex::new(Some(host.base.clone())));
    let mut clients = JoinSet::new();
    for n in 0..6 {
        clients.spawn(book(ada.clone(), Arc::clone(&base), items.clone(), n));
    }
    let planted = eve.post("/api/v1/jobs", &json!({ "kind": "probe.yearly" })).await.expect(202);
    for kill in 0..kills {
        let until = Instant::now() + Duration::from_millis(150 * (1 + kill as u64 % 8));
        while Instant::now() < until && !host.has_ended() {
            sleep(Duration::from_millis(10)).await;
        }
        host.kill();
        host.restart(options.clone()).await;
        *base.lock().unwrap() = Some(host.base.clone());
    }
    *base.lock().unwrap() = None;
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    while let Some(booked) = clients.join_next().await {
        for (item, count) in booked.unwrap() {
            *expected.entry(item).or_default() += count;
        }
    }
    // The planted job takes the host down some more times.
    let began = Instant::now();
    loop {
        if host.has_ended() {
            host.kill();
            host.restart(options.clone()).await;
        }
        let job = eve.at(&host.base).request(Method::GET, &format!("/api/v1/jobs/{}", planted["id"].as_str().unwrap()));
        let state = match job.send().await {
            Ok(response) => response.json::<Value>().await.map(|job| job["state"].clone()).unwrap_or_default(),
            Err(_) => Value::Null,
        };
        if state == "dead" {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "the planted job is {state}");
        sleep(Duration::from_millis(100)).await;
    }
    let ada = ada.at(&host.base);
    ada.settle().await;
    let took = began.elapsed();
    assert_eq!(ada.rows("/api/v1/jobs?filter[state]=dead").await, Vec::<Value>::new());
    assert_eq!(eve.at(&host.base).rows("/api/v1/jobs?filter[state]=dead").await.len(), 1);
    let (mut booked, mut acknowledged) = (0, 0);
    for item in &items {
        let record = ada.get(&format!("/api/v1/apps/inventory/items/{item}")).await.expect(200);
        let filter = format!("/api/v1/apps/inventory/movements?filter[item_id]={item}&page[size]=1");
        let movements = ada.send(ada.request(Method::GET, &filter).header("prefer", "count=exact")).await.expect(200);
        assert_eq!(record["data"]["stock"], movements["page"]["total"], "each movement is booked once");
        booked += record["data"]["stock"].as_i64().unwrap();
        acknowledged += expected.get(item).copied().unwrap_or_default();
    }
    assert!(booked >= acknowledged && acknowledged > 0, "{booked} of {acknowledged}");
    assert!(took < Duration::from_secs(60), "{took:?}");
    measured!(
        "{kills} kills: {acknowledged} acknowledged movements, {booked} booked once, all within {took:.1?} of the last"
    );
}
