//! Spans, as a collector of OpenTelemetry gets them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as Any, resource::v1::Resource,
    trace::v1::Span, trace::v1::span::SpanKind,
};
use prost::Message;
use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Client, Database, Host, Options, Receiver};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn to(collector: &Receiver) -> Options {
    Options::default()
        .set("PURLIN_OTLP_ENDPOINT", collector.url.replace("/hook", "/"))
        .set("PURLIN_EGRESS_ALLOW", "127.0.0.0/8,::1/128")
}

/// Send this within the caller's trace.
async fn post(client: &Client, path: &str, flags: &str, body: &Value) -> Value {
    let traceparent = format!("00-{TRACE}-{CALLER}-{flags}");
    let request = client.request(Method::POST, path).header("traceparent", traceparent).json(body);
    let answer = client.send(request).await;
    assert!(answer.status < 300, "{}: {:#}", answer.status, answer.body);
    answer.body
}

/// What came until now, with whose it is.
fn spans(collector: &Receiver) -> Vec<(Resource, Span)> {
    let mut all = Vec::new();
    for delivery in collector.taken() {
        assert_eq!(delivery.header("content-type"), "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(delivery.body.as_slice()).unwrap();
        for of in request.resource_spans {
            let resource = of.resource.unwrap();
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| (resource.clone(), span)));
        }
    }
    all
}

/// The spans of the caller's trace, once these names are among them.
async fn wait_for(collector: &Receiver, names: &[&str]) -> Vec<Span> {
    let began = Instant::now();
    loop {
        let own: Vec<Span> =
            spans(collector).into_iter().map(|(_, span)| span).filter(|span| hex(&span.trace_id) == TRACE).collect();
        if names.iter().all(|name| own.iter().any(|span| span.name == *name)) {
            return own;
        }
        let seen: Vec<&String> = own.iter().map(|span| &span.name).collect();
        assert!(began.elapsed() < Duration::from_secs(20), "{names:?} did not come: {seen:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

fn attribute<'a>(attributes: &'a [opentelemetry_proto::tonic::common::v1::KeyValue], name: &str) -> Option<&'a Any> {
    attributes.iter().find(|one| one.key == name)?.value.as_ref()?.value.as_ref()
}

#[db_test]
async fn a_collector_gets_one_trace_from_a_request_to_a_handlers_job(database: Database) {
    let collector = Receiver::saying(Vec::new()).await;
    let host = Host::start_with(database, to(&collector)).await;
    let ada = host.tenant_with("acme", "probe").await;
    post(&ada, "/api/v1/apps/probe/notes", "01", &json!({ "text": "work" })).await;
    let request = "POST /api/v1/apps/{plugin}/{collection}";
    let (check, deliver, job) = ("check probe.notes", "deliver probe.notes.created", "run-job probe.echo");
    let own = wait_for(&collector, &[request, check, "commit", deliver, job]).await;
    let by_name: HashMap<&str, &Span> = own.iter().map(|span| (span.name.as_str(), span)).collect();
    let (request, check, deliver, job) = (by_name[request], by_name[check], by_name[deliver], by_name[job]);
    assert_eq!(hex(&request.parent_span_id), CALLER);
    assert_eq!(check.parent_span_id, request.span_id);
    assert_eq!(deliver.parent_span_id, request.span_id);
    assert_eq!(job.parent_span_id, deliver.span_id);
    let mut commits: Vec<&Vec<u8>> =
        own.iter().filter(|span| span.name == "commit").map(|span| &span.parent_span_id).collect();
    commits.sort();
    let mut expected = vec![&request.span_id, &deliver.span_id];
    expected.sort();
    assert_eq!(commits, expected, "each is within what it commits");
    for (span, kind) in [
        (request, SpanKind::Server),
        (check, SpanKind::Internal),
        (deliver, SpanKind::Consumer),
        (job, SpanKind::Consumer),
    ] {
        assert_eq!(span.kind, kind as i32, "{}", span.name);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano && span.start_time_unix_nano > 0);
    }
    assert_eq!(attribute(&request.attributes, "http.response.status_code"), Some(&Any::IntValue(201)));
    assert_eq!(attribute(&job.attributes, "purlin.plugin"), Some(&Any::StringValue("probe".to_owned())));
    let events = ada.rows("/api/v1/events?filter[type]=probe.notes.created").await;
    let told = events[0]["traceparent"].as_str().unwrap();
    assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&request.span_id)), "the event tells the span that is collected");

    let has = |body: &[u8], text: &[u8]| body.windows(text.len()).any(|window| window == text);
    assert!(collector.taken().iter().all(|one| !has(&one.body, b"acme")), "nothing of a tenant's data is told");
    let all = spans(&collector);
    let (resource, _) = &all[0];
    let text = |name: &str| match attribute(&resource.attributes, name) {
        Some(Any::StringValue(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!((text("service.name"), text("service.version")), ("purlin".to_owned(), "0.1.0".to_owned()));
    let workers = if host.database.is_postgres() {
        format!("SELECT count(*) FROM workers WHERE id = '{}'", text("service.instance.id"))
    } else {
        format!(
            "SELECT count(*) FROM workers WHERE hex(id) = upper('{}')",
            text("service.instance.id").replace('-', "")
        )
    };
    assert_eq!(host.database.count(&workers).await, 1, "the boot of the process");
    let mut ids: Vec<&Vec<u8>> = all.iter().map(|(_, span)| &span.span_id).collect();
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "no span comes twice");
}

#[db_test]
async fn what_is_sent_out_is_within_the_call_that_sends_it(database: Database) {
    let (collector, receiver) = (Receiver::saying(Vec::new()).await, Receiver::start(&[200]).await);
    let host = Host::start_with(database, to(&collector)).await;
    let ada = host.tenant_with("acme", "probe").await;
    let hook = json!({ "url": receiver.url, "event_types": ["role.created"] });
    ada.post("/api/v1/webhooks", &hook).await.expect(201);
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let script = json!({ "calls": [{ "do": "fetch", "url": url }] });
    post(&ada, "/api/v1/apps/probe/-/script", "01", &script).await;
    post(&ada, "/api/v1/roles", "01", &json!({ "name": "ops", "permissions": [] })).await;
    let deliveries = receiver.wait_for(2, Duration::from_secs(20)).await;
    let own = wait_for(&collector, &["GET", "POST", "route POST /script", "run-job deliver_webhook"]).await;
    for (client, caller) in [("GET", "route POST /script"), ("POST", "run-job deliver_webhook")] {
        let named = |name: &str| own.iter().find(|span| span.name == name).unwrap();
        let (client, caller) = (named(client), named(caller));
        assert_eq!((client.kind, &client.parent_span_id), (SpanKind::Client as i32, &caller.span_id));
        let header = format!("00-{TRACE}-{}-01", hex(&client.span_id));
        assert!(deliveries.iter().any(|delivery| delivery.header("traceparent") == header), "{header}");
    }
}

#[db_test]
async fn what_a_caller_does_not_sample_is_not_collected_and_a_host_that_stops_sends_the_rest(database: Database) {
    let collector = Receiver::saying(Vec::new()).await;
    let mut host = Host::start_with(database, to(&collector)).await;
    let ada = host.tenant("acme").await;
    post(&ada, "/api/v1/roles", "00", &json!({ "name": "ops", "permissions": [] })).await;
    ada.get("/api/v1/roles/018f3c5e-0000-7000-8000-000000000000").await.expect(404);
    assert!(host.stop().await);
    let all = spans(&collector);
    assert!(all.iter().any(|(_, span)| span.name == "GET /api/v1/roles/{id}"), "the last request is told of");
    assert!(all.iter().all(|(_, span)| hex(&span.trace_id) != TRACE), "the caller decides");
}

#[db_test]
async fn a_collector_that_fails_costs_its_spans_and_no_request(database: Database) {
    let collector = Receiver::start(&[400]).await;
    let mut host = Host::start_with(database, to(&collector)).await;
    let ada = host.tenant_with("acme", "probe").await;
    for n in 0..20 {
        ada.create("probe/notes", json!({ "text": format!("note {n}") })).await;
    }
    collector.wait_for(1, Duration::from_secs(10)).await;
    ada.settle().await;
    assert!(host.log().contains("ExportError"), "an operator hears of it");
    assert!(host.stop().await);
    host.restart(Options::default().set("PURLIN_OTLP_ENDPOINT", "http://127.0.0.1:1")).await;
    let ada = ada.at(&host.base);
    ada.get("/api/v1/users/me").await.expect(200);
    assert!(host.stop().await, "also where nobody listens");
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_stops_the_host_with_its_name() {
    let options = Options::default().set("PURLIN_OTLP_ENDPOINT", "localhost:4318");
    let output = Host::command(&Database::sqlite(), &options, &["serve"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("otlp_endpoint"), "{told}");
}
