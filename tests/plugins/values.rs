//! What is accepted means the same everywhere: when it is read back, to a filter, to a plugin.

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host};

const ITEMS: &str = "/api/v1/apps/inventory/items";
const VALUES: &str = "/api/v1/apps/probe/values";

/// Send JSON as it is written.
async fn written(client: &Client, method: Method, path: &str, text: &str) -> crate::support::Answer {
    client.send(client.request(method, path).header("content-type", "application/json").body(text.to_owned())).await
}

async fn names(ada: &Client, query: &str) -> Vec<String> {
    let rows = ada.rows(&format!("{VALUES}?sort=created_at&{query}")).await;
    rows.iter().map(|row| row["data"]["t"].as_str().unwrap_or_default().to_owned()).collect()
}

#[db_test]
async fn a_whole_number_is_whole_however_it_is_written(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let text = r#"{"sku":"A-1","name":"Bolt","stock":40.0,"reorder_point":-0.0,"unit_cost_cents":1e2}"#;
    let item = written(&ada, Method::POST, ITEMS, text).await.expect(201);
    let data = json!({ "sku": "A-1", "name": "Bolt", "stock": 40, "reorder_point": 0, "unit_cost_cents": 100 });
    assert_eq!(item["data"], data);
    let id = item["id"].as_str().unwrap();
    ada.create("inventory/movements", json!({ "item_id": id, "quantity": 2 })).await;
    ada.settle().await;
    let path = format!("{ITEMS}/{id}");
    assert_eq!(ada.get(&path).await.expect(200)["data"]["stock"], 42);
    // One that leads out of the range is refused by the plugin, and the stock stays.
    ada.create("inventory/movements", json!({ "item_id": id, "quantity": i64::MAX })).await;
    ada.settle().await;
    assert_eq!(ada.get(&path).await.expect(200)["data"]["stock"], 42);
    let dead = ada.rows("/api/v1/jobs?filter[state]=dead").await;
    assert_eq!(dead.len(), 1);
    let dead = ada.get(&format!("/api/v1/jobs/{}", dead[0]["id"].as_str().unwrap())).await.expect(200);
    assert!(dead["last_error"].as_str().unwrap().contains("cannot move so far"), "{dead:#}");
    for (text, pointer) in [
        (r#"{"sku":"B","name":"Bolt","stock":123456789012345678901234567890}"#, "/stock"),
        (r#"{"sku":"B","name":"Bolt","stock":9223372036854775808}"#, "/stock"),
        (r#"{"sku":"B","name":"Bolt","stock":1,"unit_cost_cents":1e999}"#, "/unit_cost_cents"),
    ] {
        let answer = written(&ada, Method::POST, ITEMS, text).await;
        let error = &answer.body["errors"][0];
        assert_eq!((answer.status, &error["code"], &error["pointer"]), (422, &json!("number_range"), &json!(pointer)));
    }
}

#[db_test]
async fn what_is_taken_in_is_nested_no_deeper_than_it_can_be_read_back(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let settings = |depth: usize| format!(r#"{{"settings":{{"deep":{}}}}}"#, nested(depth));
    let me = "/api/v1/tenants/me";
    let answer = written(&ada, Method::PATCH, me, &settings(125)).await;
    assert_eq!((answer.status, &answer.body["errors"][0]["code"]), (422, &json!("depth")));
    written(&ada, Method::PATCH, me, &settings(50)).await.expect(200);
    written(&ada, Method::PATCH, me, &settings(55)).await.expect(200);
    let record = written(&ada, Method::POST, VALUES, &format!(r#"{{"x":{}}}"#, nested(60))).await.expect(201);
    ada.get(&format!("{VALUES}/{}", record["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(written(&ada, Method::POST, VALUES, &format!(r#"{{"x":{}}}"#, nested(64))).await.status, 422);
    // By a plugin, too.
    let deep: Value = serde_json::from_str(&nested(60)).unwrap();
    let deeper: Value = serde_json::from_str(&nested(70)).unwrap();
    for payload in [deep, deeper] {
        ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo", "payload": payload })).await;
    }
    ada.settle().await;
    ada.get("/api/v1/audit-logs").await.expect(200);
    ada.get("/api/v1/events").await.expect(200);
    assert_eq!(ada.get("/api/v1/audit-logs/verify").await.expect(200)["intact"], true);
}

#[db_test]
async fn an_id_is_found_in_whatever_form_it_is_written(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let id = ada.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt" })).await;
    let upper = id.to_uppercase();
    let movement = json!({ "item_id": upper, "quantity": 1 });
    let moved = ada.post("/api/v1/apps/inventory/movements", &movement).await.expect(201);
    assert_eq!(moved["data"]["item_id"], id.as_str());
    for form in [&id, &upper] {
        let path = format!("/api/v1/apps/inventory/movements?filter[item_id]={form}");
        assert_eq!(ada.rows(&path).await.len(), 1, "{form}");
    }
    assert_eq!(ada.get("/api/v1/apps/inventory/movements?filter[item_id]=bolt").await.problem(400), "bad_parameter");
}

#[db_test]
async fn a_filter_knows_the_values_that_there_are(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    ada.create("probe/values", json!({ "t": "a", "colour": "red" })).await;
    for (path, listed) in [
        ("/api/v1/jobs?filter[state]=foo", "scheduled, waiting, ready"),
        ("/api/v1/jobs?filter[queue][in]=high,urgent", "high, default, low"),
        ("/api/v1/invitations?filter[status][ne]=open", "pending, accepted, revoked"),
        ("/api/v1/audit-logs?filter[actor_kind]=robot", "user, api_key, plugin, system"),
        ("/api/v1/apps/probe/values?filter[colour]=green", "red, blue"),
    ] {
        let answer = ada.get(path).await;
        let detail = answer.body["errors"][0]["detail"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 400 && detail.contains(listed), "{path}: {:#}", answer.body);
    }
    let tree = json!({ "filter": { "field": "colour", "op": "eq", "value": "green" } });
    assert_eq!(ada.post(&format!("{VALUES}/search"), &tree).await.problem(422), "invalid");
    assert_eq!(names(&ada, "filter[colour]=red").await, ["a"]);
    assert!(ada.rows("/api/v1/jobs?filter[state]=dead").await.is_empty());
}

#[db_test]
async fn a_filter_can_express_every_letter(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for t in ["a,b", "a*b", "a\\b", "axb"] {
        ada.create("probe/values", json!({ "t": t })).await;
    }
    for (query, found) in [
        ("filter[t][in]=a%5C,b,axb", vec!["a,b", "axb"]),
        ("filter[t][nin]=a%5C,b,axb", vec!["a*b", "a\\b"]),
        ("filter[t][like]=a%5C*b", vec!["a*b"]),
        ("filter[t][like]=a*b", vec!["a,b", "a*b", "a\\b", "axb"]),
        ("filter[t][ilike]=A%5C%5CB", vec!["a\\b"]),
        ("filter[t]=a,b", vec!["a,b"]),
    ] {
        assert_eq!(names(&ada, query).await, found, "{query}");
    }
    let long = "x".repeat(201);
    assert_eq!(ada.get(&format!("{VALUES}?filter[t][like]={long}")).await.status, 400);
    assert_eq!(ada.get(&format!("{VALUES}?filter[t][like]=*a*b*c*d*e*f*g*h*")).await.status, 400);
}

#[db_test]
async fn times_compare_as_instants_whatever_their_offset(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let times = [
        ("c", "2026-03-29T01:00:00Z"),
        ("b", "2026-03-28T23:59:59.5-01:00"),
        ("a", "2026-03-29T02:30:00+02:00"),
        ("e", "2026-03-29T00:00:00.000001-23:00"),
        ("d", "2026-03-29T23:00:00.000000+00:00"),
    ];
    for (t, time) in times {
        ada.create("probe/values", json!({ "t": t, "at": time, "due": time, "day": time[..10] })).await;
    }
    for field in ["at", "due"] {
        let (mut found, mut after) = (String::new(), String::new());
        loop {
            let page = ada.get(&format!("{VALUES}?sort={field}&page[size]=1{after}")).await.expect(200);
            found.push_str(page["data"][0]["data"]["t"].as_str().unwrap());
            let Some(next) = page["page"]["next"].as_str() else { break };
            after = format!("&page[after]={next}");
        }
        assert_eq!(found, "abcde");
        for (query, expected) in [
            ("=2026-03-29T03:00:00%2B02:00", "c"),
            ("[lt]=2026-03-29T01:00:00Z", "ba"),
            ("[gte]=2026-03-28T20:00:00-05:00", "ced"),
            ("[gt]=2026-03-29T23:00:00Z", "e"),
            ("[in]=2026-03-29T00:30:00Z,2026-03-30T00:00:00%2B01:00", "ad"),
        ] {
            let found = names(&ada, &format!("filter[{field}]{query}")).await.concat();
            assert_eq!(found, expected, "{field}{query}");
        }
        assert_eq!(ada.get(&format!("{VALUES}?filter[{field}]=yesterday")).await.problem(400), "bad_parameter");
    }
    // It is read back as it was sent.
    assert_eq!(ada.rows(&format!("{VALUES}?filter[t]=b")).await[0]["data"]["at"], "2026-03-28T23:59:59.5-01:00");
    assert_eq!(names(&ada, "filter[day][lt]=2026-03-29").await, ["b"]);
    assert_eq!(ada.get(&format!("{VALUES}?filter[day]=29.3.2026")).await.problem(400), "bad_parameter");
    let wrong = json!({ "at": "2026-02-30T00:00:00Z" });
    assert_eq!(ada.post(VALUES, &wrong).await.problem(422), "invalid");
}

#[db_test]
async fn a_report_has_a_column_for_whatever_appears_in_it(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for n in 0..205 {
        let data = if n == 203 { json!({ "t": "late", "n": 7 }) } else { json!({ "t": "early" }) };
        ada.create("probe/values", data).await;
    }
    let job = ada.run("generate_report", json!({ "of": "apps/probe/values", "format": "csv" })).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let file = ada.get(&format!("/api/v1/jobs/{}/file", job["id"].as_str().unwrap())).await.expect(200);
    let text = file.as_str().unwrap();
    let columns: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let place = columns.iter().position(|column| column.ends_with('n') && column.starts_with("data")).unwrap();
    let late = text.lines().find(|line| line.contains("late")).unwrap();
    assert_eq!(late.split(',').nth(place), Some("7"), "{columns:?}");
    assert_eq!(text.lines().count(), 206);
}

#[db_test]
async fn writers_of_one_record_wait_for_each_other(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let id = ada.create("probe/values", json!({ "k": 0 })).await;
    let path = format!("{VALUES}/{id}");
    let all: Vec<_> = (0..20)
        .map(|client| {
            let (ada, path) = (ada.clone(), path.clone());
            tokio::spawn(async move {
                for n in 0..60 {
                    ada.patch(&path, &json!({ (format!("c{client}")): n })).await.expect(200);
                }
            })
        })
        .collect();
    for each in all {
        each.await.unwrap();
    }
    let record = ada.get(&path).await.expect(200);
    assert_eq!(record["version"], 1 + 20 * 60);
    assert!((0..20).all(|client| record["data"][format!("c{client}")] == 59), "{record:#}");
    // Of those that insist on a version, one succeeds.
    let all: Vec<_> = (0..20)
        .map(|n| {
            let request =
                ada.request(Method::PATCH, &path).header("if-match", "\"v1201\"").json(&json!({ "k": n + 1 }));
            let ada = ada.clone();
            tokio::spawn(async move { ada.send(request).await.status })
        })
        .collect();
    let mut done = 0;
    for each in all {
        match each.await.unwrap() {
            200 => done += 1,
            status => assert_eq!(status, 412),
        }
    }
    assert_eq!(done, 1);
}

#[db_test]
async fn what_a_plugin_cannot_read_is_not_the_callers_fault(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let id = ada.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt" })).await;
    let label = format!("/api/v1/apps/inventory/-/items/{id}/label");
    ada.get(&label).await.expect(200);
    // As another version may have written it.
    let data = r#"{"sku": "A-1", "name": "Bolt", "stock": "many"}"#;
    host.database.execute(&format!("UPDATE records SET data = '{data}'")).await;
    assert_eq!(ada.get(&label).await.problem(500), "unreadable");
    let log = ada.log_of("inventory").await;
    assert!(log.iter().any(|line| line.contains(&id) && line.contains("invalid type")), "{log:?}");
}
