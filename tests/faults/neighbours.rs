//! Eight plugins that run away, and a tenant beside them who wants to work.

use std::time::{Duration, Instant};

use purlin_test_macros::db_test;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::support::{Client, Database, Host, Options, figure, measured, proving};

const RUNAWAYS: usize = 8;
const SPIN: &str = "/api/v1/apps/probe/-/script";

/// Ask for an endless loop again and again, and have jobs that are such.
async fn run_away(client: Client) {
    loop {
        let spin = json!({ "calls": [], "then": "spin" });
        let job = json!({ "kind": "probe.script", "payload": spin });
        client.post("/api/v1/jobs", &job).await;
        client.post(SPIN, &spin).await;
    }
}

/// How long reads took, and how many of the jobs asked for one after the other were done in time.
async fn work(client: &Client, length: Duration) -> (Vec<Duration>, usize) {
    let before = done(client).await;
    let mut ticks = interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (began, mut reads) = (Instant::now(), Vec::new());
    while began.elapsed() < length {
        ticks.tick().await;
        client.post("/api/v1/jobs", &json!({ "kind": "probe.echo" })).await.expect(202);
        let asked = Instant::now();
        client.get("/api/v1/apps/probe/notes").await.expect(200);
        reads.push(asked.elapsed());
    }
    reads.sort_unstable();
    (reads, done(client).await - before)
}

async fn done(client: &Client) -> usize {
    let path = "/api/v1/jobs?filter[kind]=probe.echo&filter[state]=succeeded&page[size]=1";
    let page = client.send(client.request(reqwest::Method::GET, path).header("prefer", "count=exact")).await;
    usize::try_from(page.expect(200)["page"]["total"].as_u64().unwrap()).unwrap()
}

#[db_test]
async fn plugins_that_run_away_leave_another_tenant_its_reads_and_its_share_of_jobs(database: Database) {
    let plans = json!({ "standard": {}, "free": {}, "unlimited": {} });
    let options = Options::default().set("PURLIN_PLANS", plans).set("PURLIN_LEASE_SECONDS", 30);
    let host = Host::start_with(database, options).await;
    let bob = host.tenant_with("bystander", "probe").await;
    bob.create("probe/notes", json!({ "text": "hello" })).await;
    let length = Duration::from_secs(figure(4, 30) as u64);
    let (_, alone) = work(&bob, length).await;
    bob.settle().await;
    let mut runaways = JoinSet::new();
    for n in 0..RUNAWAYS {
        let client = host.tenant(&format!("runaway-{n}")).await;
        client.enable("probe").await;
        runaways.spawn(run_away(client));
    }
    sleep(Duration::from_secs(2)).await;
    let (reads, beside) = work(&bob, length).await;
    let asked = reads.len();
    runaways.abort_all();
    while runaways.join_next().await.is_some() {}
    let (p50, p99) = (reads[asked / 2], reads[(asked - 1) * 99 / 100]);
    measured!(
        "beside {RUNAWAYS} plugins that run away: {asked} reads, p50 {p50:?}, p99 {p99:?}; {beside} of {asked} jobs \
         done at the end, alone {alone}"
    );
    bob.settle().await;
    assert!(beside > 0 && !host.log().contains("panicked"));
    // Speed is judged on a quiet machine alone.
    if proving() {
        assert!(p99 <= Duration::from_millis(250), "{p99:?}");
        assert!(beside * 10 >= asked * 9, "{beside} of {asked}");
    }
}
