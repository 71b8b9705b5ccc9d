//! One trace, from a request to everything that it leads to.

use std::time::Duration;

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Answer, Client, Database, Host, Options, Receiver};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// Send this with these headers.
async fn post(client: &Client, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request = client.request(Method::POST, path).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request).await
}

/// The trace and the span in a `traceparent`.
fn parts(of: &Value) -> (String, String) {
    let text = of["traceparent"].as_str().unwrap_or_else(|| panic!("no traceparent: {of:#}"));
    let trace: purlin_domain::trace::Trace = text.parse().unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&trace.id_bytes()), trace.id());
    (trace.id(), hex(&trace.span_bytes()))
}

/// The only job of this kind.
async fn job(client: &Client, filter: &str) -> Value {
    let jobs = client.rows(&format!("/api/v1/jobs?{filter}")).await;
    assert_eq!(jobs.len(), 1, "{filter}: {jobs:#?}");
    client.get(&format!("/api/v1/jobs/{}", jobs[0]["id"].as_str().unwrap())).await.expect(200)
}

#[db_test]
async fn one_trace_leads_from_a_request_through_its_event_and_handler_to_the_handlers_job(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let told = traceparent();
    post(&ada, "/api/v1/apps/probe/notes", &[("traceparent", &told)], &json!({ "text": "work" })).await.expect(201);
    ada.create("probe/notes", json!({ "text": "another" })).await;
    ada.settle().await;

    let events = ada.rows("/api/v1/events?filter[type]=probe.notes.created&sort=created_at").await;
    let (trace, request) = parts(&events[0]);
    assert_eq!(trace, TRACE);
    assert_ne!(request, CALLER, "the request is a span of its own");
    let (other, _) = parts(&events[1]);
    assert_ne!(other, TRACE, "a request that tells of none begins one");

    let event = events[0]["id"].as_str().unwrap();
    let delivery = job(&ada, &format!("filter[kind]=core.deliver&filter[event_id]={event}")).await;
    assert_eq!(parts(&delivery), (TRACE.to_owned(), request.clone()), "the request caused the delivery");
    let echo = job(&ada, "filter[kind]=probe.echo").await;
    let (trace, handler) = parts(&echo);
    assert_eq!(trace, TRACE);
    assert!(handler != request && handler != CALLER, "the handler's call is a span of its own");

    sleep(Duration::from_millis(2_500)).await;
    let path = format!("/api/v1/installations/probe/invocations?filter[trace_id]={TRACE}&sort=created_at");
    let rows = ada.rows(&path).await;
    let seen: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row["trigger"], row["subject"]).replace('"', "")).collect();
    assert_eq!(seen, ["check probe.notes", "event probe.notes.created", "job probe.echo"]);
    assert_eq!(rows[2]["job_id"], echo["id"]);
    let log = host.log();
    for line in ["request{trace_id=", "run{trace_id="] {
        assert!(log.contains(&format!("{line}\"{TRACE}\"")), "an operator finds it in the log: {line}");
    }
}

#[db_test]
async fn a_trace_leads_on_through_events_of_handlers_and_no_chain_is_bounded_by_it(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let told = traceparent();
    for text in ["ping", "other"] {
        let body = json!({ "text": text });
        post(&ada, "/api/v1/apps/probe/notes", &[("traceparent", &told)], &body).await.expect(201);
    }
    ada.settle().await;
    let pings = ada.rows("/api/v1/events?filter[type]=probe.pinged&sort=created_at").await;
    assert_eq!(pings.len(), 15);
    let mut spans: Vec<String> = pings.iter().map(|ping| parts(ping).1).collect();
    assert!(pings.iter().all(|ping| parts(ping).0 == TRACE));
    spans.sort();
    spans.dedup();
    assert_eq!(spans.len(), 15, "each handler is a span of its own");
    let roots = format!(
        "SELECT count(DISTINCT root_id) FROM all_jobs WHERE kind = 'core.deliver' AND traceparent LIKE '00-{TRACE}-%'"
    );
    assert_eq!(host.database.count(&roots).await, 2, "requests of one trace begin chains of their own");
}

#[db_test]
async fn an_invalid_traceparent_begins_a_new_trace(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let role = |n: usize| json!({ "name": format!("role {n}"), "permissions": ["jobs:read"] });
    let good = traceparent();
    let bad = [
        good.to_uppercase(),
        good.replace(TRACE, &"0".repeat(32)),
        good.replace(CALLER, &"0".repeat(16)),
        good.replacen("00", "ff", 1),
        format!("{good}-more"),
        good.replace("-01", "-1"),
        TRACE.to_owned(),
    ];
    for (n, text) in bad.iter().enumerate() {
        post(&ada, "/api/v1/roles", &[("traceparent", text)], &role(n)).await.expect(201);
    }
    let twice = [("traceparent", good.as_str()), ("traceparent", good.as_str())];
    post(&ada, "/api/v1/roles", &twice, &role(bad.len())).await.expect(201);
    let later = good.replacen("00", "01", 1);
    let answer = post(&ada, "/api/v1/roles", &[("traceparent", &later), ("tracestate", "a=b")], &role(99)).await;
    assert!(!answer.headers.contains_key("traceparent") && !answer.headers.contains_key("tracestate"));
    answer.expect(201);
    let events = ada.rows("/api/v1/events?filter[type]=role.created&sort=created_at&page[size]=50").await;
    let events: Vec<&Value> = events.iter().filter(|event| event["data"]["name"] != "Administrator").collect();
    let mut traces: Vec<String> = events[events.len() - bad.len() - 2..].iter().map(|event| parts(event).0).collect();
    assert_eq!(traces.pop().unwrap(), TRACE, "of a later version what is known is taken");
    assert!(!traces.contains(&TRACE.to_owned()), "{traces:?}");
    let count = traces.len();
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), count, "each begins one of its own");
}

#[db_test]
async fn a_webhook_gets_the_trace_as_a_header_and_as_an_attribute_of_the_event(database: Database) {
    let receiver = Receiver::start(&[500, 200]).await;
    let host = Host::start_with(database, Options::default().set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8")).await;
    let ada = host.tenant("acme").await;
    let new = json!({ "url": receiver.url, "event_types": ["role.*"] });
    ada.post("/api/v1/webhooks", &new).await.expect(201);
    let role = json!({ "name": "ops", "permissions": ["jobs:read"] });
    post(&ada, "/api/v1/roles", &[("traceparent", &traceparent())], &role).await.expect(201);
    let deliveries = receiver.wait_for(2, Duration::from_secs(30)).await;
    let listed = ada.rows("/api/v1/events?filter[type]=role.created&filter[source]=/core&sort=-created_at").await;
    let mut spans = Vec::new();
    for delivery in &deliveries {
        let (trace, span) = parts(&json!({ "traceparent": delivery.header("traceparent") }));
        assert_eq!(trace, TRACE);
        let event: Value = serde_json::from_slice(&delivery.body).unwrap();
        assert_eq!(parts(&event).0, TRACE);
        assert_eq!(event["traceparent"], listed[0]["traceparent"], "the event keeps the span that published it");
        spans.extend([span, parts(&event).1]);
    }
    assert_eq!(spans[1], spans[3]);
    assert!(spans[0] != spans[2] && !spans[..3].contains(&CALLER.to_owned()), "each attempt is a span: {spans:?}");
}

#[db_test]
async fn requests_of_plugins_are_of_the_trace_and_no_plugin_chooses_it(database: Database) {
    let options = Options::default().set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8,::1/128");
    let host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    let receiver = Receiver::saying(Vec::new()).await;
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let fetch = |headers: Value| json!({ "do": "fetch", "url": url, "headers": headers });
    let calls = json!({ "calls": [
        fetch(json!({})),
        fetch(json!({ "Traceparent": traceparent() })),
        fetch(json!({ "tracestate": "a=b" })),
        fetch(json!({})),
    ] });
    let sent = post(&ada, "/api/v1/apps/probe/-/script", &[("traceparent", &traceparent())], &calls).await;
    let answers = sent.expect(200);
    for refused in [&answers[1], &answers[2]] {
        assert!(refused["error"].as_str().unwrap().contains("/headers"), "{refused}");
    }
    let came = receiver.wait_for(2, Duration::from_secs(5)).await;
    assert_eq!(came.len(), 2, "nothing of the refused was sent");
    let told: Vec<(String, String)> =
        came.iter().map(|one| parts(&json!({ "traceparent": one.header("traceparent") }))).collect();
    assert!(told.iter().all(|(trace, span)| trace == TRACE && span != CALLER), "{told:?}");
    assert_ne!(told[0].1, told[1].1, "each is a span of its own");
}
