//! One invocation is one transaction.

use std::time::Duration;

use purlin_test_macros::db_test;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Client, Database, Host};

/// Everything an invocation can leave behind, beside the job itself.
async fn traces(client: &Client) -> [usize; 4] {
    [
        client.rows("/api/v1/apps/probe/notes").await.len(),
        client.rows("/api/v1/events?filter[source]=/plugins/probe").await.len(),
        client.rows("/api/v1/jobs?filter[kind]=probe.echo").await.len(),
        client.rows("/api/v1/audit-logs?filter[actor_kind]=plugin").await.len(),
    ]
}

#[db_test]
async fn an_invocation_that_succeeds_leaves_every_effect(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.run("probe.everything", json!({})).await;
    assert_eq!(
        (&job["result"], &job["progress"], &job["progress_message"]),
        (&json!({ "tenant": "acme" }), &json!(100), &json!("done"))
    );
    // The note's own event and the one published; the note's own audit row and the one recorded.
    let [notes, events, jobs, audit] = traces(&ada).await;
    assert_eq!((notes, jobs, audit), (1, 1, 2));
    assert!(events >= 2, "{events}");
}

#[db_test]
async fn a_guest_that_sleeps_after_a_write_holds_up_nobody_else(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let shared = ada.create("probe/effects", json!({ "key": "shared", "n": 0 })).await;
    // More of them than the host has connections to the database; one writes what others write.
    let mut jobs = Vec::new();
    for n in 0..12 {
        let id = if n == 0 { shared.clone() } else { ada.create("probe/effects", json!({ "key": "own" })).await };
        let write = json!({ "do": "update", "collection": "effects", "id": id, "data": { "key": "slept", "n": 100 } });
        // How far it is is shown a second after it began at the earliest.
        let pause = |ms: u64| json!({ "do": "sleep", "ms": ms });
        let calls = json!([write, pause(1_200), { "do": "progress", "percent": 50 }, pause(6_000)]);
        let job = json!({ "kind": "probe.script", "payload": { "calls": calls } });
        jobs.push(ada.post("/api/v1/jobs", &job).await.expect(202)["id"].as_str().unwrap().to_owned());
    }
    let asleep = "/api/v1/jobs?filter[kind]=probe.script&filter[state]=running";
    for job in &jobs {
        while ada.get(&format!("/api/v1/jobs/{job}")).await.expect(200)["progress"].is_null() {
            sleep(Duration::from_millis(20)).await;
        }
    }
    let path = format!("/api/v1/apps/probe/effects/{shared}");
    for n in 1..=5 {
        ada.patch(&path, &json!({ "n": n })).await.expect(200);
        ada.create("probe/effects", json!({ "key": "awake" })).await;
    }
    assert_eq!(ada.get(&path).await.expect(200)["data"], json!({ "key": "shared", "n": 5 }));
    assert_eq!(ada.rows(asleep).await.len(), jobs.len(), "all of that was done while they slept");
    for job in &jobs {
        assert_eq!(ada.wait_for_job(job).await["state"], "succeeded");
    }
    // Whose write came too late was done again, over what it found then.
    assert_eq!(ada.get(&path).await.expect(200)["data"], json!({ "key": "slept", "n": 100 }));
}

#[db_test]
async fn how_far_a_guest_is_shows_while_it_runs(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.post("/api/v1/jobs", &json!({ "kind": "probe.tell" })).await.expect(202);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    let shown = loop {
        let job = ada.get(&path).await.expect(200);
        if job["progress"].is_number() || job["finished_at"].is_string() {
            break job;
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((&shown["state"], &shown["progress_message"]), (&json!("running"), &json!("counting")));
    let ended = ada.wait_for_job(job["id"].as_str().unwrap()).await;
    assert_eq!((&ended["state"], &ended["progress"]), (&json!("succeeded"), &json!(60)));
}

#[db_test]
async fn a_guest_that_fails_after_writing_leaves_nothing_but_its_log(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let failed = ada.run("probe.write-then-fail", json!({})).await;
    assert_eq!((&failed["state"], &failed["last_error"]), (&json!("dead"), &json!("failed after writing")));
    let panicked = ada.run("probe.write-then-panic", json!({})).await;
    assert_eq!(panicked["state"], "dead");
    assert_eq!(traces(&ada).await, [0, 0, 0, 0]);
    let log = ada.log_of("probe").await;
    assert!(
        log.contains(&"writing fail".to_owned()) && log.contains(&"failed: failed after writing".to_owned()),
        "{log:?}"
    );
    assert!(log.iter().any(|line| line.contains("panicked after writing")), "{log:?}");
}

#[db_test]
async fn a_guest_sees_its_own_writes_before_anybody_else(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    ada.create("probe/notes", json!({ "text": "own 0", "n": 5 })).await;
    let job = ada.run("probe.read-own-writes", json!({})).await;
    assert_eq!(job["result"], json!({ "added": 1, "sorted": [10, 5, 2], "taken": true, "gone": true }), "{job:#}");
    let left: Vec<Value> =
        ada.rows("/api/v1/apps/probe/notes?sort=n").await.iter().map(|r| r["data"]["text"].clone()).collect();
    assert_eq!(left, ["own 2", "own 0"]);
}

#[db_test]
async fn a_handler_that_rejects_an_event_sends_it_to_the_dead_letters(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    ada.create("probe/notes", json!({ "text": "reject" })).await;
    ada.settle().await;
    let dead = ada.rows("/api/v1/jobs?filter[state]=dead").await;
    assert_eq!((dead.len(), &dead[0]["last_error"]), (1, &json!("this note is not welcome")));
    assert_eq!(ada.rows("/api/v1/apps/probe/notes").await.len(), 1, "the request that caused it stands");
}

#[db_test]
async fn handlers_that_end_together_commit_together_and_one_that_cannot_takes_none_with_it(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    // All of them want the same unique key; one can have it.
    let rivals = (0..8).map(|_| json!({ "kind": "probe.everything" }));
    let others = (0..60).map(|n| json!({ "kind": "probe.effect", "payload": { "key": "together", "n": n } }));
    let jobs: Vec<Value> = rivals.chain(others).collect();
    ada.post("/api/v1/jobs/batch", &json!({ "jobs": jobs })).await.expect(202);
    ada.settle().await;
    let effects = ada.rows("/api/v1/apps/probe/effects?filter[key]=together&page[size]=200").await;
    let mut written: Vec<i64> = effects.iter().filter_map(|row| row["data"]["n"].as_i64()).collect();
    written.sort_unstable();
    assert_eq!(written, (0..60).collect::<Vec<i64>>(), "each has its effect, once");
    let ended = |state: &str| format!("/api/v1/jobs?filter[kind]=probe.everything&filter[state]={state}");
    assert_eq!(ada.rows(&ended("succeeded")).await.len(), 1);
    assert_eq!(ada.rows(&ended("dead")).await.len(), 7);
    let [notes, _, jobs, _] = traces(&ada).await;
    assert_eq!((notes, jobs), (1, 1), "those that failed left nothing");
}
