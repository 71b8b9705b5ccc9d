//! Collections as a plugin declares them: what refers to what, what is searched, what is
//! personal, and what another version does to it.

use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host};

const MOVEMENTS: &str = "/api/v1/apps/inventory/movements";
const PEOPLE: &str = "/api/v1/apps/probe/people";

async fn item(ada: &Client, sku: &str) -> String {
    ada.create("inventory/items", json!({ "sku": sku, "name": "Bolt", "stock": 100 })).await
}

#[db_test]
async fn a_record_refers_only_to_one_that_is_there_and_holds_it(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let eve = host.tenant("evil").await;
    eve.enable("inventory").await;
    let (bolt, theirs) = (item(&ada, "A-1").await, item(&eve, "A-1").await);
    let movement = |item: &str| json!({ "item_id": item, "quantity": -1 });
    for wrong in ["nonsense", "00000000-0000-0000-0000-000000000000", &theirs] {
        let answer = ada.post(MOVEMENTS, &movement(wrong)).await;
        assert_eq!((answer.status, answer.body["errors"][0]["pointer"].as_str()), (422, Some("/item_id")), "{wrong}");
    }
    let moved = ada.create("inventory/movements", movement(&bolt)).await;
    ada.settle().await;
    let path = format!("/api/v1/apps/inventory/items/{bolt}");
    let held = ada.delete(&path).await;
    assert!(held.body["detail"].as_str().unwrap().contains(&format!("inventory.movements {moved} refers to it")));
    assert_eq!(held.problem(409), "conflict");
    let other = item(&ada, "A-2").await;
    ada.patch(&format!("{MOVEMENTS}/{moved}"), &json!({ "item_id": other })).await.expect(200);
    ada.delete(&path).await.expect(204);
    assert_eq!(ada.delete(&format!("/api/v1/apps/inventory/items/{other}")).await.status, 409);
    ada.delete(&format!("{MOVEMENTS}/{moved}")).await.expect(204);
    ada.delete(&format!("/api/v1/apps/inventory/items/{other}")).await.expect(204);
}

#[db_test]
async fn a_record_may_refer_to_itself_and_be_deleted(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let boss = ada.create("probe/people", json!({ "team": "a" })).await;
    let path = format!("{PEOPLE}/{boss}");
    ada.patch(&path, &json!({ "boss": boss })).await.expect(200);
    ada.delete(&path).await.expect(204);
}

#[db_test]
async fn a_reference_and_the_deletion_of_what_it_refers_to_never_both_succeed(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let (mut refused, mut deleted) = (0, 0);
    for _ in 0..30 {
        let boss = ada.create("probe/people", json!({ "team": "a" })).await;
        let path = format!("{PEOPLE}/{boss}");
        let worker = json!({ "team": "a", "boss": boss });
        let (made, gone) = tokio::join!(ada.post(PEOPLE, &worker), ada.delete(&path));
        match (made.status, gone.status) {
            (201, 409) => refused += 1,
            (422 | 409, 204) => deleted += 1,
            other => panic!("{other:?}: {:#} {:#}", made.body, gone.body),
        }
        assert_eq!(ada.get(&path).await.status, if gone.status == 204 { 404 } else { 200 });
    }
    crate::support::measured!("{refused} deletions and {deleted} references were refused");
}

#[db_test]
async fn another_plugins_record_is_referred_to_by_grant_and_never_held(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    host.upload(&["probe"]).await;
    let bolt = item(&ada, "A-1").await;
    let grants = json!({ "plugin": "probe", "grants": ["probe.loans:*", "probe.people:*"] });
    ada.post("/api/v1/installations", &grants).await.expect(201);
    let loan = json!({ "item": bolt });
    assert_eq!(ada.post("/api/v1/apps/probe/loans", &loan).await.problem(403), "not_granted");
    let grants = json!({ "plugin": "probe", "grants": ["probe.loans:*", "inventory.items:read"] });
    ada.post("/api/v1/installations", &grants).await.expect(201);
    let id = ada.create("probe/loans", loan).await;
    ada.delete(&format!("/api/v1/apps/inventory/items/{bolt}")).await.expect(204);
    let left = ada.get(&format!("/api/v1/apps/probe/loans/{id}")).await.expect(200);
    assert_eq!(left["data"]["item"], bolt.as_str(), "it keeps the id");
}

#[db_test]
async fn a_search_finds_records_that_have_all_of_its_words(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    for (sku, name) in [("M8-20", "Hex bolt"), ("M8-40", "Coach bolt"), ("W-1", "Washer, 100%"), ("X_1", "hexagon")] {
        ada.create("inventory/items", json!({ "sku": sku, "name": name })).await;
    }
    let found = async |query: &str| -> Vec<String> {
        let rows = ada.rows(&format!("/api/v1/apps/inventory/items?sort=sku&{query}")).await;
        rows.iter().map(|row| row["data"]["sku"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("q=bolt").await, ["M8-20", "M8-40"]);
    assert_eq!(found("q=HEX").await, ["M8-20", "X_1"]);
    assert_eq!(found("q=bolt%20m8-4").await, ["M8-40"]);
    assert_eq!(found("q=100%25").await, ["W-1"]);
    assert_eq!(found("q=x_").await, ["X_1"], "what LIKE takes for a wildcard is none");
    assert_eq!(found("q=bolt&filter[name][like]=Hex*").await, ["M8-20"]);
    assert_eq!(found("q=").await.len(), 4);
    let tree = json!({ "q": "bolt", "filter": { "field": "sku", "op": "eq", "value": "M8-20" } });
    let searched = ada.post("/api/v1/apps/inventory/items/search", &tree).await.expect(200);
    assert_eq!(searched["data"].as_array().unwrap().len(), 1);
    assert_eq!(ada.get("/api/v1/users?q=ada").await.problem(400), "bad_parameter");
    let long = "x".repeat(101);
    assert_eq!(ada.get(&format!("/api/v1/apps/inventory/items?q={long}")).await.problem(400), "bad_parameter");
}

#[db_test]
async fn what_is_personal_of_a_user_is_shown_whole_and_erased_with_the_user(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let bob = host.member(&ada, "bob@acme.example", &[]).await;
    let id = bob.get("/api/v1/users/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let own = json!({ "user": id, "name": "Bob Bolt", "phone": "555-7", "team": "a" });
    let about = ada.create("probe/people", own).await;
    let other = ada.create("probe/people", json!({ "name": "Zoe", "team": "a" })).await;
    ada.patch(&format!("{PEOPLE}/{about}"), &json!({ "phone": "555-8" })).await.expect(200);

    let order = json!({ "of": "personal-data", "user": id, "format": "ndjson" });
    let report = ada.run("generate_report", order.clone()).await;
    let job = report["id"].as_str().unwrap();
    let file = ada.get(&format!("/api/v1/jobs/{job}/file")).await;
    let lines: Vec<Value> =
        file.body.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(lines[0]["personal_data"]["email"], "bob@acme.example");
    assert_eq!(lines[1]["personal_data"], json!({ "name": "Bob Bolt", "phone": "555-8" }));
    let order = |payload: Value| json!({ "kind": "generate_report", "payload": payload });
    let refused =
        bob.post("/api/v1/jobs", &order(json!({ "of": "personal-data", "user": id, "format": "ndjson" }))).await;
    assert_eq!(refused.problem(403), "forbidden");
    let as_csv = order(json!({ "of": "personal-data", "user": id, "format": "csv" }));
    assert_eq!(ada.post("/api/v1/jobs", &as_csv).await.status, 422);

    // The audit log, which outlives it, never had it.
    let audit = ada.get("/api/v1/audit-logs?filter[resource_type]=probe.people").await.expect(200).to_string();
    assert!(audit.contains("***") && !audit.contains("\"555-") && !audit.contains("Bolt"), "{audit}");
    ada.delete(&format!("/api/v1/users/{id}")).await.expect(204);
    let erasing = ada.post(&format!("/api/v1/users/{id}/erase"), &json!({})).await.expect(202);
    let done = ada.wait_for_job(erasing["id"].as_str().unwrap()).await;
    assert_eq!(done["result"]["records"], 1, "{done:#}");
    let left = ada.get(&format!("{PEOPLE}/{about}")).await.expect(200);
    assert_eq!(left["data"], json!({ "user": id, "team": "a" }));
    let marks = async |like: &str| {
        host.database.count(&format!("SELECT count(*) FROM record_marks WHERE mark LIKE '{like}'")).await
    };
    assert_eq!((marks("s555-%").await, marks(&format!("s{id}")).await), (0, 1), "nor has an index it any more");
    assert_eq!(ada.get(&format!("{PEOPLE}/{other}")).await.expect(200)["data"]["name"], "Zoe");
    let events = ada.get(&format!("/api/v1/events?filter[subject]={about}")).await.expect(200).to_string();
    assert!(events.contains("probe.people.erased") && !events.contains("\"555-"), "{events}");
}

#[db_test]
async fn a_list_finds_by_an_index_what_it_finds_without(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let zoe = host.tenant("zoo").await;
    zoe.enable("inventory").await;
    let view = ada.get("/api/v1/installations/inventory").await.expect(200);
    assert_eq!(view["indexed"], json!(["movements.item_id", "movements.quantity"]), "nothing was there to be indexed");
    let item = ada.create("inventory/items", json!({ "sku": "A", "name": "a" })).await;
    let other = ada.create("inventory/items", json!({ "sku": "B", "name": "b" })).await;
    for (item, quantity) in [(&item, 1), (&item, -40), (&other, 2), (&other, 300), (&item, 20), (&other, -5)] {
        ada.create("inventory/movements", json!({ "item_id": item, "quantity": quantity })).await;
    }
    let theirs = zoe.create("inventory/items", json!({ "sku": "A", "name": "a" })).await;
    zoe.create("inventory/movements", json!({ "item_id": theirs, "quantity": 20 })).await;
    let found = async |query: &str| {
        let rows = ada.rows(&format!("/api/v1/apps/inventory/movements?{query}")).await;
        let mut quantities: Vec<i64> = rows.iter().map(|row| row["data"]["quantity"].as_i64().unwrap()).collect();
        quantities.sort_unstable();
        quantities
    };
    assert_eq!(found(&format!("filter[item_id]={item}")).await, [-40, 1, 20]);
    assert_eq!(found(&format!("filter[item_id][in]={item},{other}")).await, [-40, -5, 1, 2, 20, 300]);
    assert_eq!(found(&format!("filter[item_id]={theirs}")).await, [0; 0], "it is another tenant's");
    assert_eq!(found("filter[quantity]=20").await, [20]);
    assert_eq!(found("filter[quantity]=20.0").await, [20]);
    assert_eq!(found("filter[quantity][gt]=1").await, [2, 20, 300]);
    assert_eq!(found("filter[quantity][gte]=-5&filter[quantity][lt]=20").await, [-5, 1, 2]);
    assert_eq!(found(&format!("filter[quantity][lt]=0&filter[item_id]={other}")).await, [-5]);
    assert_eq!(found("filter[quantity][ne]=20").await, [-40, -5, 1, 2, 300]);
    let either = json!({ "or": [{ "field": "quantity", "op": "eq", "value": 1 }, { "field": "quantity", "op": "eq", "value": 2 }] });
    let page = ada.post("/api/v1/apps/inventory/movements/search", &json!({ "filter": either })).await.expect(200);
    assert_eq!(page["data"].as_array().unwrap().len(), 2, "{page:#}");
    let counted = ada.request(Method::GET, "/api/v1/apps/inventory/movements?filter[quantity][lt]=20");
    let page = ada.send(counted.header("prefer", "count=exact")).await.expect(200);
    assert_eq!(page["page"]["total"], 4, "{page:#}");
    // Pages of it lead on as ever.
    let first =
        ada.get("/api/v1/apps/inventory/movements?filter[quantity][gt]=0&page[size]=3&sort=id").await.expect(200);
    let next = first["page"]["next"].as_str().unwrap();
    assert_eq!(found(&format!("filter[quantity][gt]=0&page[size]=3&sort=id&page[after]={next}")).await, [20]);
}

#[db_test]
async fn a_guest_finds_and_counts_by_an_index(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for phone in ["1", "2", "2"] {
        ada.create("probe/people", json!({ "team": "a", "phone": phone })).await;
    }
    let asked = json!({ "calls": [
        { "do": "create", "collection": "people", "data": { "team": "b", "phone": "2" } },
        { "do": "find", "collection": "people", "property": "phone", "value": "2" },
        { "do": "count", "collection": "people", "filter": { "field": "phone", "op": "eq", "value": "2" } },
    ] });
    let answers = async || ada.run("probe.script", asked.clone()).await["result"].clone();
    let found = answers().await;
    assert_eq!((&found[1]["ok"], &found[2]["ok"]), (&json!(3), &json!(3)), "its own is among them: {found}");
    // They do use it: what it has not they do not find.
    host.database.execute("DELETE FROM record_marks WHERE mark = 's2'").await;
    let found = answers().await;
    assert_eq!((&found[1]["ok"], &found[2]["ok"]), (&json!(1), &json!(1)), "{found}");
}

#[db_test]
async fn what_is_personal_of_somebody_else_is_erased_record_by_record(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let zoe = ada.create("probe/people", json!({ "name": "Zoe", "phone": "555-9", "team": "a" })).await;
    let path = format!("{PEOPLE}/{zoe}/erase");
    let bob = host.member(&ada, "bob@acme.example", &[]).await;
    assert_eq!(bob.post(&path, &json!({})).await.problem(403), "forbidden");
    let erased = ada.post(&path, &json!({})).await.expect(200);
    assert_eq!((&erased["data"], &erased["version"]), (&json!({ "team": "a" }), &json!(2)));
    assert_eq!(ada.post(&path, &json!({})).await.expect(200)["version"], 2, "once is enough");
    assert_eq!(ada.rows("/api/v1/audit-logs?filter[action]=probe.people.erased").await.len(), 1);
    let note = ada.create("probe/notes", json!({ "text": "hello" })).await;
    let none = ada.post(&format!("/api/v1/apps/probe/notes/{note}/erase"), &json!({})).await;
    assert_eq!(none.problem(409), "no_personal_data");
    let gone = format!("{PEOPLE}/00000000-0000-0000-0000-000000000000/erase");
    assert_eq!(ada.post(&gone, &json!({})).await.status, 404);
}

#[db_test]
async fn erasing_somebody_erases_the_events_of_records_that_were_deleted_before(database: Database) {
    let Some(redis) = crate::support::Redis::start().await else { return crate::support::skipped("Redis") };
    let options = crate::support::Options::default().set("REDIS_URL", redis.url.clone());
    let host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    let bob = host.member(&ada, "bob@acme.example", &[]).await;
    let id = bob.get("/api/v1/users/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let own = json!({ "user": id.to_uppercase(), "name": "Bob Bolt", "phone": "555-7", "team": "a" });
    let gone = ada.create("probe/people", own.clone()).await;
    let kept = ada.create("probe/people", json!({ "name": "Zoe", "phone": "555-9", "team": "a" })).await;
    ada.patch(&format!("{PEOPLE}/{gone}"), &json!({ "phone": "555-8" })).await.expect(200);
    ada.delete(&format!("{PEOPLE}/{gone}")).await.expect(204);
    ada.delete(&format!("{PEOPLE}/{kept}")).await.expect(204);
    let stream = async || {
        let bus = purlin_store::bus::Bus::open(&redis.url).unwrap();
        let entries = bus.entries("purlin:events", "", 1_000).await.unwrap();
        entries.into_iter().map(|[_, _, event]| event).collect::<String>()
    };
    for _ in 0..200 {
        if stream().await.contains("555-8") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(stream().await.contains("555-7"));
    let path = format!("/api/v1/users/{id}");
    ada.patch(&path, &json!({ "email": "robert@acme.example" })).await.expect(200);
    ada.settle().await;
    ada.delete(&path).await.expect(204);
    let erasing = ada.post(&format!("{path}/erase"), &json!({})).await.expect(202);
    assert_eq!(ada.wait_for_job(erasing["id"].as_str().unwrap()).await["state"], "succeeded");
    let events = ada.get("/api/v1/events?page[size]=200").await.expect(200).to_string();
    assert!(!events.contains("555-7") && !events.contains("555-8") && !events.contains("Bolt"), "{events}");
    assert!(events.contains("555-9"), "of somebody else all is there");
    let jobs = ada.get("/api/v1/jobs?filter[kind]=send_email_changed_email").await.expect(200);
    let job = ada.get(&format!("/api/v1/jobs/{}", jobs["data"][0]["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(job["payload"], json!({ "subject": id, "erased": true }));
    // Within seconds the stream of Redis has it no more either.
    for _ in 0..300 {
        if !stream().await.contains("Bolt") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let left = stream().await;
    assert!(!left.contains("555-7") && !left.contains("555-8") && left.contains("555-9"), "{left}");
    assert!(left.contains("\"dataschema\":\"http"), "an absolute address: {left}");
}
