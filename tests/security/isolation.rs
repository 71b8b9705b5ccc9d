//! What belongs to another tenant is not found, through every door.

use purlin_domain::{
    clock::{Clock, SystemClock},
    filter::{Field, FieldType, Filter, Op, Operand},
    id::{EventId, JobId, RecordId, TenantId, UserId},
    record::CollectionRef,
};
use purlin_store::{Db, Slice, audit, events, installations, jobs, plugin_logs, records, tenants, users};
use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, Database, Host};

/// A tenant with one of everything.
struct Furnished {
    client: Client,
    item: String,
    job: String,
    event: String,
    audit: String,
}

async fn furnish(host: &Host, slug: &str) -> Furnished {
    let client = host.tenant(slug).await;
    client.enable("inventory").await;
    let item =
        client.create("inventory/items", json!({ "sku": "A-1", "name": slug, "stock": 20, "reorder_point": 10 })).await;
    client.create("inventory/movements", json!({ "item_id": item, "quantity": -15 })).await;
    client.settle().await;
    let first = |rows: Vec<Value>| rows[0]["id"].as_str().unwrap().to_owned();
    Furnished {
        item,
        job: first(client.rows("/api/v1/jobs").await),
        event: first(client.rows("/api/v1/events").await),
        audit: first(client.rows("/api/v1/audit-logs").await),
        client,
    }
}

#[db_test]
async fn a_foreign_id_answers_as_a_random_one_does_on_every_route(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["inventory"]).await;
    let (ada, bob) = (furnish(&host, "acme").await, furnish(&host, "bolts").await);
    let random = "01930000-0000-7000-8000-000000000000";
    let movement = ada.client.rows("/api/v1/apps/inventory/movements").await[0]["id"].as_str().unwrap().to_owned();
    ada.client.delete(&format!("/api/v1/apps/inventory/movements/{movement}")).await.expect(204);
    for (method, template, own, foreign) in [
        (Method::GET, "/api/v1/apps/inventory/items/{}", &ada.item, &bob.item),
        (Method::PATCH, "/api/v1/apps/inventory/items/{}", &ada.item, &bob.item),
        (Method::GET, "/api/v1/jobs/{}", &ada.job, &bob.job),
        (Method::GET, "/api/v1/jobs/{}/status", &ada.job, &bob.job),
        (Method::GET, "/api/v1/events/{}", &ada.event, &bob.event),
        (Method::GET, "/api/v1/audit-logs/{}", &ada.audit, &bob.audit),
        (Method::DELETE, "/api/v1/apps/inventory/items/{}", &ada.item, &bob.item),
    ] {
        let ask = async |id: &str| {
            let request = ada.client.request(method.clone(), &template.replace("{}", id)).json(&json!({}));
            ada.client.send(request).await
        };
        let strip = |mut body: Value| {
            body["request_id"] = Value::Null;
            body["instance"] = Value::Null;
            body
        };
        assert_eq!(strip(ask(foreign).await.expect(404)), strip(ask(random).await.expect(404)), "{method} {template}");
        assert!(ask(own).await.status < 300, "{method} {template}");
    }
    assert_eq!(bob.client.rows("/api/v1/apps/inventory/items").await.len(), 1, "what was tried did nothing");
}

#[db_test]
async fn lists_and_searches_show_a_tenant_only_its_own(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["inventory"]).await;
    let (ada, bob) = (furnish(&host, "acme").await, furnish(&host, "bolts").await);
    let foreign = [
        bob.client.me["tenant"]["id"].as_str().unwrap(),
        bob.client.me["user"]["id"].as_str().unwrap(),
        &bob.item,
        &bob.job,
        &bob.event,
        &bob.audit,
        "bolts",
    ];
    for path in [
        "/api/v1/apps/inventory/items",
        "/api/v1/apps/inventory/movements",
        "/api/v1/apps/inventory/suggestions",
        "/api/v1/jobs",
        "/api/v1/events",
        "/api/v1/audit-logs",
        "/api/v1/installations",
        "/api/v1/installations/inventory/logs",
        "/api/v1/tenants/me",
        "/api/v1/users/me",
    ] {
        let body = ada.client.get(path).await.expect(200).to_string();
        for id in foreign {
            assert!(!body.contains(id), "{path} shows {id}");
        }
    }
    let by_foreign_id = format!("/api/v1/apps/inventory/items?filter[id]={}", bob.item);
    assert!(ada.client.rows(&by_foreign_id).await.is_empty());
    ada.client.create("inventory/items", json!({ "sku": "A-2", "name": "x" })).await;
    let cursor = ada.client.get("/api/v1/apps/inventory/items?page[size]=1").await.expect(200)["page"]["next"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        bob.client.get(&format!("/api/v1/apps/inventory/items?page[size]=1&page[after]={cursor}")).await.problem(400),
        "bad_parameter"
    );
}

/// The same questions the routes ask, put to the store as another tenant.
#[db_test]
async fn the_store_finds_nothing_of_another_tenant(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["inventory"]).await;
    let (ada, bob) = (furnish(&host, "acme").await, furnish(&host, "bolts").await);
    let db = Db::open(&host.database.config()).await.unwrap();
    let tenant = |client: &Client| TenantId(id(&client.me["tenant"]["id"]));
    let items = CollectionRef { plugin: "inventory".to_owned(), collection: "items".to_owned() };
    for (asking, found) in [(tenant(&bob.client), true), (tenant(&ada.client), false), (TenantId(Uuid::nil()), false)] {
        for write in [false, true] {
            let mut tx = if write { db.write(asking).await.unwrap() } else { db.read(asking).await.unwrap() };
            let tx = &mut tx;
            let (item, job) = (RecordId(uuid(&bob.item)), JobId(uuid(&bob.job)));
            assert_eq!(records::by_id(tx, &items, item).await.unwrap().is_some(), found);
            assert_eq!(records::hold_version(tx, &items, item).await.unwrap().is_some(), found);
            assert_eq!(jobs::by_id(tx, job).await.unwrap().is_some(), found);
            assert_eq!(events::by_id(tx, EventId(uuid(&bob.event))).await.unwrap().is_some(), found);
            assert_eq!(audit::by_id(tx, uuid(&bob.audit)).await.unwrap().is_some(), found);
            assert_eq!(users::by_id(tx, UserId(id(&bob.client.me["user"]["id"]))).await.unwrap().is_some(), found);
            assert_eq!(users::by_email(tx, "admin@bolts.example").await.unwrap().is_some(), found);
            let name =
                Filter::Is(Field::column("message", FieldType::Text), Op::Like, vec![Operand::Text("*".to_owned())]);
            let own_rows = asking != TenantId(Uuid::nil());
            assert_eq!(
                !plugin_logs::list(tx, "inventory", &Slice::first(&name, &[], 10)).await.unwrap().rows.is_empty(),
                own_rows
            );
            assert_eq!(tenants::own(tx).await.unwrap().is_some(), own_rows);
            assert_eq!(installations::by_plugin(tx, "inventory").await.unwrap().is_some(), own_rows);
            if write && !found {
                assert!(!records::update(tx, &items, item, 2, &json!({}), SystemClock.now(), None).await.unwrap());
                assert!(!records::delete(tx, &items, item, 2).await.unwrap());
                assert!(!jobs::cancel(tx, job, None, SystemClock.now()).await.unwrap());
            }
        }
    }
    db.close().await;
}

fn id(value: &Value) -> Uuid {
    uuid(value.as_str().unwrap())
}

fn uuid(text: &str) -> Uuid {
    text.parse().unwrap()
}
