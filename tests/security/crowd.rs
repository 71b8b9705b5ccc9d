//! Many tenants at once, doing anything with anybody's ids.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use purlin_test_macros::db_test;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host, figure, ids_of};

struct Tenant {
    client: Client,
    /// Stands in everything that belongs to it, and in nothing else.
    mark: String,
    ids: Vec<String>,
}

async fn tenant(host: &Host, n: usize) -> Tenant {
    let slug = format!("mark-{n}-x");
    let client = host.tenant(&slug).await;
    client.enable("inventory").await;
    let item = client.create("inventory/items", json!({ "sku": slug, "name": slug })).await;
    let user = json!({ "email": format!("u@{slug}.example"), "first_name": slug });
    let user = client.post("/api/v1/users", &user).await.expect(201)["id"].as_str().unwrap().to_owned();
    let role = client.post("/api/v1/roles", &json!({ "name": slug })).await.expect(201);
    let mut ids = ids_of(&client).await;
    ids.extend([item, user, role["id"].as_str().unwrap().to_owned()]);
    Tenant { client, mark: slug, ids }
}

/// Anything a client may ask, with an id of whoever.
fn operation(random: &mut StdRng, id: &str, cursor: &str) -> (Method, String, Value) {
    let list = [
        "users",
        "roles",
        "events",
        "jobs",
        "audit-logs",
        "api-keys",
        "invitations",
        "apps/inventory/items",
        "installations",
    ];
    let list = list.choose(random).unwrap();
    match random.random_range(0..9) {
        0..=2 => (Method::GET, format!("/api/v1/{list}/{id}"), Value::Null),
        3 => (Method::GET, format!("/api/v1/{list}?filter[id]={id}"), Value::Null),
        4 => (Method::GET, format!("/api/v1/{list}?page[size]=200"), Value::Null),
        5 => (Method::GET, format!("/api/v1/{list}?page[after]={cursor}"), Value::Null),
        6 => (
            Method::POST,
            format!("/api/v1/{list}/search"),
            json!({ "filter": { "not": { "field": "id", "op": "eq", "value": id } } }),
        ),
        7 => (
            Method::PATCH,
            format!("/api/v1/{list}/{id}"),
            json!({ "name": "x", "first_name": "x", "description": "x" }),
        ),
        _ => (
            Method::POST,
            "/api/v1/access/explain".to_owned(),
            json!({ "user_id": id, "resource": "jobs", "action": "read" }),
        ),
    }
}

#[db_test]
async fn of_many_tenants_none_sees_or_changes_anything_of_another(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["inventory"]).await;
    let mut tenants = Vec::new();
    for n in 0..figure(12, 100) {
        tenants.push(tenant(&host, n).await);
    }
    let cursor = tenants[0].client.get("/api/v1/events?page[size]=1").await.expect(200)["page"]["next"]
        .as_str()
        .unwrap()
        .to_owned();
    let (tenants, total) = (Arc::new(tenants), figure(1_500, 100_000));
    let (foreign, own) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let workers = (0..4u64).map(|worker| {
        let (tenants, cursor, foreign, own) =
            (Arc::clone(&tenants), cursor.clone(), Arc::clone(&foreign), Arc::clone(&own));
        tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(worker);
            for _ in 0..total / 4 {
                let who = tenants.choose(&mut random).unwrap();
                let whose = tenants.choose(&mut random).unwrap();
                let id = whose.ids.choose(&mut random).unwrap();
                let (method, path, body) = operation(&mut random, id, &cursor);
                let request = who.client.request(method.clone(), &path);
                let answer = who.client.send(if body.is_null() { request } else { request.json(&body) }).await;
                assert!(answer.status < 500, "{method} {path}: {}", answer.body);
                // A cursor of one's own is told in the path of a problem; nothing else of others may be.
                let mut body = answer.body;
                if let Some(problem) = body.as_object_mut() {
                    problem.remove("instance");
                }
                let text = body.to_string();
                for (at, _) in text.match_indices("mark-") {
                    assert!(text[at..].starts_with(&who.mark), "{method} {path} shows {}: {text}", &text[at..at + 12]);
                }
                if whose.mark == who.mark {
                    own.fetch_add(1, Ordering::Relaxed);
                } else {
                    foreign.fetch_add(1, Ordering::Relaxed);
                    let by_id = path.ends_with(id.as_str());
                    assert!(!by_id || path.contains('?') || answer.status >= 400, "{method} {path}: {}", answer.status);
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    for tenant in tenants.iter() {
        let users = tenant.client.rows("/api/v1/users?sort=created_at").await;
        assert!(
            users.iter().all(|user| user["email"].as_str().unwrap().ends_with(&format!("{}.example", tenant.mark)))
        );
        assert_eq!(tenant.client.rows("/api/v1/apps/inventory/items").await[0]["data"]["sku"], json!(tenant.mark));
    }
    crate::support::measured!(
        "{} tenants, {} operations with ids of others and {} with own ones: 0 leaks",
        tenants.len(),
        foreign.load(Ordering::Relaxed),
        own.load(Ordering::Relaxed)
    );
}
