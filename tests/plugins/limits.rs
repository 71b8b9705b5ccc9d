//! Guests that go beyond every measure are stopped, reported, and bother nobody else.

use purlin_domain::clock::{Clock, SystemClock};
use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host, Options};

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

/// What the host enters of the last such invocation that met a limit.
async fn last_stopped(client: &Client, filter: &str) -> Value {
    let path = format!("/api/v1/installations/probe/invocations?filter[outcome]=limit&{filter}&sort=-id&page[size]=1");
    for _ in 0..100 {
        if let Some(row) = client.rows(&path).await.first() {
            return row.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("no invocation of {filter} met a limit");
}

#[db_test]
async fn a_plan_sets_lower_limits_for_each_invocation(database: Database) {
    let ceilings = json!({
        "wall_ms_max": 2_000, "cpu_ms_max": 50, "memory_bytes_max": 16 << 20, "host_calls_max": 20,
        "lifted_bytes_max": 100_000, "log_bytes_max": 1_000,
    });
    let plans = json!({ "standard": { "invocation": ceilings }, "large": {} });
    let host = Host::start_with(database, Options::default().set("PURLIN_PLANS", plans)).await;
    let ada = host.tenant_with("acme", "probe").await;
    let bob = host.tenant("bolts").await;
    let tenant = format!("/api/v1/tenants/{}", bob.me["tenant"]["id"].as_str().unwrap());
    host.operator().await.patch(&tenant, &json!({ "plan": "large" })).await.expect(200);
    bob.enable("probe").await;
    let script = "/api/v1/apps/probe/-/script";
    let log = |times: usize, text: &str| json!({ "calls": vec![json!({ "do": "log", "text": text }); times] });

    // An endless loop ends at a tenth of what it gets elsewhere, also where that is a check.
    ada.post(script, &json!({ "calls": [], "then": "spin" })).await.expect(502);
    ada.post("/api/v1/apps/probe/notes", &json!({ "text": "check: spin" })).await.expect(502);
    stopped(&ada, "probe.spin", "the cpu limit was met").await;
    for trigger in ["route", "check", "job"] {
        let row = last_stopped(&ada, &format!("filter[trigger]={trigger}")).await;
        assert_eq!(row["limit_met"], "cpu", "{row:#}");
        assert!((50_000..150_000).contains(&row["cpu_us"].as_i64().unwrap()), "{row:#}");
    }
    // Calls, time and memory; another plan leaves them.
    assert_eq!(ada.post(script, &log(30, "x")).await.problem(502), "plugin_limit");
    bob.post(script, &log(30, "x")).await.expect(200);
    let long = "x".repeat(30_000);
    ada.post(script, &log(3, &long)).await.expect(200);
    assert_eq!(ada.post(script, &log(4, &long)).await.problem(502), "plugin_limit");
    last_stopped(&ada, "filter[limit_met]=lifted_bytes").await;
    bob.post(script, &log(4, &long)).await.expect(200);
    let sleep = json!({ "calls": [{ "do": "sleep", "ms": 3_000 }] });
    ada.post(script, &sleep).await.expect(502);
    bob.post(script, &sleep).await.expect(200);
    stopped(&ada, "probe.grow", "the memory limit was met").await;
    stopped(&bob, "probe.grow", "the memory limit was met").await;
    let grow = "filter[subject]=probe.grow";
    let taken = |row: Value| row["memory_bytes"].as_i64().unwrap();
    let (small, large) = (taken(last_stopped(&ada, grow).await), taken(last_stopped(&bob, grow).await));
    assert!(small <= 16 << 20 && large > 48 << 20, "{small}, {large}");
    // Of the log only the beginning is kept.
    ada.post(script, &log(10, &"y".repeat(400))).await.expect(200);
    bob.post(script, &log(10, &"y".repeat(400))).await.expect(200);
    let kept = async |client: &Client| {
        let rows = client.rows("/api/v1/installations/probe/logs?filter[level]=info&page[size]=200").await;
        rows.iter().filter(|row| row["message"].as_str().unwrap().starts_with("yyy")).count()
    };
    assert_eq!((kept(&ada).await, kept(&bob).await), (2, 10));
    // Within them all goes on.
    ada.post("/api/v1/apps/probe/notes", &json!({ "text": "hello" })).await.expect(201);
}
