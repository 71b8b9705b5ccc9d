//! Components made to do harm: each ends as it must, and the host goes on as if nothing were.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{
    Answer, Client, Database, Host, Options,
    corpus::{self, Expect, Hostile, Wit},
    figure, measured, proving,
};

/// Upload and enable; false when it was refused, as it had to be.
async fn install(operator: &Client, tenant: &Client, wit: &Wit, hostile: &Hostile) -> bool {
    let answer = operator.upload(hostile.component(wit)).await;
    if let Expect::Refused(why) = hostile.expect {
        assert_eq!(answer.status, 422, "{}: {:#}", hostile.name, answer.body);
        let reasons = answer.body["errors"].to_string();
        assert!(reasons.contains(why), "{}: {reasons}", hostile.name);
        return false;
    }
    assert!(answer.status == 201 || answer.status == 200, "{}: {:#}", hostile.name, answer.body);
    tenant.enable(&hostile.name).await;
    true
}

/// The latest that the host itself said of a plugin.
async fn last_words(tenant: &Client, plugin: &str) -> String {
    let path = format!("/api/v1/installations/{plugin}/logs?filter[level]=error&sort=-id&page[size]=1");
    let rows = tenant.rows(&path).await;
    rows.first().map(|row| row["message"].as_str().unwrap().to_owned()).unwrap_or_default()
}

async fn go(tenant: &Client, hostile: &Hostile) -> Answer {
    tenant.post(&format!("/api/v1/apps/{}/-/go", hostile.name), &json!({})).await
}

/// Run it once, and look that it ended as it must.
async fn run(tenant: &Client, hostile: &Hostile) {
    let Answer { status, body, .. } = go(tenant, hostile).await;
    match hostile.expect {
        Expect::Refused(_) => unreachable!("it was refused"),
        Expect::Nothing => {
            let words = last_words(tenant, &hostile.name).await;
            assert_eq!(status, 200, "{}: {words}: {body:#}", hostile.name);
        }
        Expect::Ends(why) => {
            let words = last_words(tenant, &hostile.name).await;
            assert_eq!(status, 502, "{}: {words}: {body:#}", hostile.name);
            assert!(words.contains(why), "{}: {words}", hostile.name);
        }
        Expect::Typed => {
            let is_typed = body["code"] == "plugin_failed" || body["code"] == "plugin_limit";
            assert!(status == 200 || status == 502 && is_typed, "{}: {status}, {body:#}", hostile.name);
        }
    }
}

#[db_test]
async fn every_component_made_to_do_harm_ends_as_it_must(database: Database) {
    let host = Host::start(database).await;
    let (operator, ada) = (host.operator().await, host.tenant("acme").await);
    let wit = Wit::read();
    let (mut ran, mut refused) = (0, 0);
    for hostile in corpus::crafted() {
        if install(&operator, &ada, &wit, &hostile).await {
            run(&ada, &hostile).await;
            run(&ada, &hostile).await;
            ran += 1;
            ada.delete(&format!("/api/v1/installations/{}", hostile.name)).await.expect(204);
        } else {
            refused += 1;
        }
    }
    let lines = ada.rows("/api/v1/installations/h-log-with-control-characters/logs").await;
    assert_eq!(lines[0]["message"], "a\\r\\nb\\u{1b}[31mc\\0d".replace("\\0d", "\\u{0}d"), "{lines:?}");
    let log = host.log();
    assert!(!log.contains("panicked"), "{log}");
    ada.get("/api/v1/users/me").await.expect(200);
    measured!("{ran} components ran twice, {refused} were refused at upload, 0 panics");
    assert!(ran + refused >= 40, "{ran} + {refused}");
}

#[db_test]
async fn no_function_of_the_host_can_be_called_so_that_the_host_suffers(database: Database) {
    let host = Host::start(database).await;
    let (operator, ada) = (host.operator().await, host.tenant("acme").await);
    let wit = Wit::read();
    let all = wit.misuses();
    for hostile in &all {
        install(&operator, &ada, &wit, hostile).await;
        run(&ada, hostile).await;
        ada.delete(&format!("/api/v1/installations/{}", hostile.name)).await.expect(204);
    }
    let log = host.log();
    assert!(!log.contains("panicked"), "{log}");
    measured!("{} ways to call {} functions, 0 panics", all.len(), all.len() / 4);
}

/// Components that run at the same time.
const AT_ONCE: usize = 4;

/// Resident memory of the host, in bytes.
fn resident(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

/// CPU time of each invocation, so that a thousand endless loops end soon.
const CPU_MS: i64 = 100;

/// CPU time beyond the limit that an endless loop got each time, in microseconds.
async fn overshoots(tenant: &Client) -> Vec<i64> {
    let (mut over, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/installations/h-loop/invocations?filter[outcome]=limit&page[size]=200{after}");
        let page = tenant.get(&path).await.expect(200);
        let rows = page["data"].as_array().unwrap();
        over.extend(rows.iter().map(|row| row["cpu_us"].as_i64().unwrap() - CPU_MS * 1_000));
        let Some(next) = page["page"]["next"].as_str() else { return over };
        after = format!("&page[after]={next}");
    }
}

#[db_test]
async fn the_host_is_as_it_was_after_the_corpus_ran_again_and_again(database: Database) {
    let plans = json!({ "standard": { "invocation": { "cpu_ms_max": CPU_MS } } });
    // A thousand rounds take longer than an access token lasts.
    let options = Options::default().set("PURLIN_PLANS", plans).set("PURLIN_ACCESS_TOKEN_MINUTES", 120);
    let host = Host::start_with(database, options).await;
    let (operator, ada, bob) = (host.operator().await, host.tenant("acme").await, host.tenant("bolts").await);
    let wit = Wit::read();
    let mut corpus = Vec::new();
    for hostile in corpus::crafted() {
        if install(&operator, &ada, &wit, &hostile).await {
            run(&ada, &hostile).await;
            corpus.push(hostile);
        }
    }
    let baseline = resident(&host);
    let rounds = figure(2, 1_000);
    let mut reads = Vec::new();
    for _ in 0..rounds {
        // Some of it at once, and a bystander who reads meanwhile.
        let mut running = stream::iter(&corpus).map(|hostile| go(&ada, hostile)).buffer_unordered(AT_ONCE);
        loop {
            let began = Instant::now();
            bob.get("/api/v1/users/me").await.expect(200);
            reads.push(began.elapsed());
            let Some(answer) = running.next().await else { break };
            assert!(answer.status == 200 || answer.status == 502, "{:#}", answer.body);
        }
        drop(running);
        // Those that the host paused meanwhile go on.
        for installation in ada.rows("/api/v1/installations").await.iter().filter(|i| i["state"] == "paused") {
            let path = format!("/api/v1/installations/{}/resume", installation["plugin"].as_str().unwrap());
            ada.post(&path, &json!({})).await.expect(200);
        }
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = resident(&host);
    let mut over = overshoots(&ada).await;
    over.sort_unstable();
    let over_p99 = over[(over.len() - 1) * 99 / 100];
    reads.sort_unstable();
    let p99 = reads[(reads.len() - 1) * 99 / 100];
    assert!(!host.log().contains("panicked"));
    measured!(
        "{} components × {rounds}: memory {} MiB, then {} MiB; a bystander's reads p99 {} ms; \
         {} endless loops stopped {} µs of CPU time after their limit, p99; 0 panics, 0 exits",
        corpus.len(),
        baseline >> 20,
        after >> 20,
        p99.as_millis(),
        over.len(),
        over_p99
    );
    // What is measured is CPU time, whatever else the machine does.
    assert!(over_p99 <= 20_000, "{over:?}");
    if proving() {
        assert!(p99 <= Duration::from_millis(250), "{p99:?}");
    }
    assert!(after <= baseline + (64 << 20), "{baseline} bytes before, {after} after");
}
