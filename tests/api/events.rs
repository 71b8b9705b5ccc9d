use std::time::Duration;

use futures_util::StreamExt;
use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Client, Database, Host};

/// What a stream says, until so many events came.
async fn listen(client: &Client, query: &str, after: Option<&str>, count: usize) -> Vec<(String, Value)> {
    let mut request = client.request(Method::GET, &format!("/api/v1/events/stream{query}"));
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (reqwest::StatusCode::OK, &"text/event-stream".parse().unwrap())
    );
    let (mut bytes, mut text, mut events) = (response.bytes_stream(), String::new(), Vec::new());
    while events.len() < count {
        let chunk = timeout(Duration::from_secs(20), bytes.next()).await.expect("an event comes").unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((message, rest)) = text.clone().split_once("\n\n") {
            text = rest.to_owned();
            let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                events.push((id.to_owned(), serde_json::from_str(data).unwrap()));
            }
        }
    }
    events
}

#[db_test]
async fn whoever_listens_hears_what_is_committed_and_goes_on_where_they_stopped(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let listening = tokio::spawn({
        let ada = ada.clone();
        async move { listen(&ada, "?type=role.*", None, 2).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let eve = host.tenant("bolts").await;
    eve.post("/api/v1/roles", &json!({ "name": "theirs", "permissions": [] })).await.expect(201);
    for name in ["one", "two", "three"] {
        ada.post("/api/v1/roles", &json!({ "name": name, "permissions": [] })).await.expect(201);
    }
    let heard = listening.await.unwrap();
    let name = |event: &Value| event["data"]["name"].as_str().unwrap_or_default().to_owned();
    assert_eq!(heard.iter().map(|(_, event)| name(event)).collect::<Vec<_>>(), ["one", "two"]);
    let rest = listen(&ada, "?type=role.created", Some(&heard[0].0), 2).await;
    assert_eq!(rest.iter().map(|(_, event)| name(event)).collect::<Vec<_>>(), ["two", "three"]);
    assert_eq!(rest[0].0, heard[1].0, "a place is a place");
    for (header, query) in [(Some("nonsense"), ""), (None, "?unknown=1"), (None, "?type=**.x")] {
        let mut request = ada.request(Method::GET, &format!("/api/v1/events/stream{query}"));
        request = request
            .headers(header.map(|h| ("last-event-id".parse().unwrap(), h.parse().unwrap())).into_iter().collect());
        assert_eq!(ada.send(request).await.status, 400, "{header:?} {query}");
    }
}

#[db_test]
async fn a_stream_ends_when_whoever_listens_may_not_any_more(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let bob = host.member(&ada, "bob@acme.example", &["viewer"]).await;
    let response = bob.request(Method::GET, "/api/v1/events/stream").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let id = bob.me["user"]["id"].as_str().unwrap().to_owned();
    ada.patch(&format!("/api/v1/users/{id}"), &json!({ "is_active": false })).await.expect(200);
    let ended = timeout(Duration::from_secs(15), response.bytes()).await;
    assert!(ended.is_ok(), "the stream goes on");
}

#[db_test]
async fn an_event_is_published_by_a_person_and_delivered_again_by_one(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for n in 0..5 {
        let event = json!({ "type": "probe.stepped", "subject": "order-1", "data": { "n": n } });
        ada.post("/api/v1/events", &event).await.expect(201);
    }
    ada.settle().await;
    let order = async || {
        let rows = ada.rows("/api/v1/apps/probe/effects?filter[key]=order-1&sort=created_at").await;
        rows.iter().map(|row| row["data"]["n"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(order().await, [0, 1, 2, 3, 4], "one subject, one order");
    let events = ada.rows("/api/v1/events?filter[type]=probe.stepped&sort=created_at").await;
    let replay = format!("/api/v1/events/{}/replay", events[1]["id"].as_str().unwrap());
    let job = ada.post(&replay, &json!({ "plugin": "probe" })).await.expect(202);
    assert_eq!(ada.wait_for_job(job["id"].as_str().unwrap()).await["state"], "succeeded");
    assert_eq!(order().await, [0, 1, 2, 3, 4, 1]);
    let many = json!({ "since": events[3]["time"], "event_type": "probe.stepped", "plugin": "probe" });
    let job = ada.post("/api/v1/events/replay", &many).await.expect(202);
    let job = ada.wait_for_job(job["id"].as_str().unwrap()).await;
    assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &json!({ "deliveries": 2 })), "{job:#}");
    ada.settle().await;
    assert_eq!(order().await.len(), 8);
    let chains =
        "SELECT count(DISTINCT root_id) FROM all_jobs WHERE kind = 'core.deliver' AND plugin = 'probe' AND depth = 0";
    let told = "however many are replayed at once, what bounds a chain is counted for each";
    assert_eq!(host.database.count(chains).await, 8, "{told}");
    assert_eq!(ada.post(&replay, &json!({})).await.problem(422), "invalid");
    assert_eq!(ada.post(&replay, &json!({ "plugin": "crm" })).await.problem(422), "invalid");
    let undeclared = json!({ "type": "probe.undeclared", "data": {} });
    assert_eq!(ada.post("/api/v1/events", &undeclared).await.problem(422), "invalid");
    let bob = host.member(&ada, "bob@acme.example", &["member"]).await;
    assert_eq!(bob.post(&replay, &json!({ "plugin": "probe" })).await.problem(403), "forbidden");
}

#[db_test]
async fn what_the_platform_publishes_has_a_schema_in_a_version_and_keeps_to_it(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let role = ada.post("/api/v1/roles", &json!({ "name": "stock", "permissions": [] })).await.expect(201);
    let event = &ada.rows("/api/v1/events?filter[type]=role.created&sort=-created_at").await[0];
    assert_eq!(event["data"], json!({ "id": role["id"], "name": "stock" }));
    assert_eq!(event["dataschema"], "http://127.0.0.1:8080/api/v1/event-types/role.created/1");
    let told = ada.get("/api/v1/event-types/role.created/1").await.expect(200);
    assert_eq!((&told["source"], &told["version"]), (&json!("/core"), &json!("1")));
    for published in ada.rows("/api/v1/events?filter[source]=/core&page[size]=200").await {
        let path = published["dataschema"].as_str().unwrap().strip_prefix("http://127.0.0.1:8080").unwrap();
        let told = ada.get(path).await.expect(200);
        assert!(jsonschema::is_valid(&told["schema"], &published["data"]), "{published:#}");
    }
    assert!(!jsonschema::is_valid(&told["schema"], &json!({ "name": "stock" })), "it is no schema that takes anything");
    ada.get("/api/v1/event-types/role.created/2").await.expect(404);
    ada.get("/api/v1/event-types/role.flew/1").await.expect(404);
    let types = ada.rows("/api/v1/event-types").await;
    let of_probe = types.iter().find(|t| t["type"] == "probe.pinged").expect("what plugins declare is told too");
    assert_eq!(of_probe["source"], "/plugins/probe");
}
