//! The inventory module, as a tenant uses it.

use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host, Options};

#[db_test]
async fn stock_follows_movements_and_a_suggestion_follows_low_stock(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let item =
        ada.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt", "stock": 20, "reorder_point": 10 })).await;
    ada.create("inventory/movements", json!({ "item_id": item, "quantity": -15 })).await;
    ada.settle().await;
    assert_eq!(ada.get(&format!("/api/v1/apps/inventory/items/{item}")).await.expect(200)["data"]["stock"], 5);
    let low = ada.rows("/api/v1/events?filter[type]=inventory.stock.low").await;
    assert_eq!((low.len(), &low[0]["data"]["stock"], &low[0]["source"]), (1, &json!(5), &json!("/plugins/inventory")));
    let suggestions = ada.rows("/api/v1/apps/inventory/suggestions").await;
    assert_eq!((suggestions.len(), &suggestions[0]["data"]["quantity"]), (1, &json!(15)));
    assert_eq!(ada.log_of("inventory").await, ["A-1: stock 20 → 5"]);
    let audit = ada.rows("/api/v1/audit-logs?filter[actor_kind]=plugin&sort=created_at").await;
    assert_eq!(audit.len(), 2);
    for row in audit {
        assert_eq!((&row["actor"], &row["on_behalf_of"]), (&json!("inventory"), &ada.me["user"]["id"]));
    }
}

#[db_test]
async fn movements_that_meet_at_one_item_all_count(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let item = ada.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt", "stock": 1_000 })).await;
    let bookings: Vec<_> = (1..=20)
        .map(|n| {
            let (ada, item) = (ada.clone(), item.clone());
            tokio::spawn(
                async move { ada.create("inventory/movements", json!({ "item_id": item, "quantity": -n })).await },
            )
        })
        .collect();
    for booking in bookings {
        booking.await.unwrap();
    }
    ada.settle().await;
    let item = ada.get(&format!("/api/v1/apps/inventory/items/{item}")).await.expect(200);
    assert_eq!((&item["data"]["stock"], &item["version"]), (&json!(1_000 - 210), &json!(21)));
    assert!(ada.rows("/api/v1/jobs?filter[state]=dead").await.is_empty());
}

#[db_test]
async fn the_valuation_adds_up_more_items_than_a_page_holds(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    for n in 0..205 {
        ada.create(
            "inventory/items",
            json!({ "sku": format!("S-{n}"), "name": "x", "stock": 2, "unit_cost_cents": 5 }),
        )
        .await;
    }
    let job = ada.run("inventory.valuation", json!({})).await;
    assert_eq!(job["result"]["total_cents"], 2_050, "{job:#}");
    assert_eq!(ada.rows("/api/v1/apps/inventory/valuations").await[0]["data"]["items"], 205);
}

#[db_test]
async fn a_job_about_an_unknown_item_is_a_dead_letter_at_once(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let payload = json!({ "item_id": "01930000-0000-7000-8000-000000000000" });
    let job = json!({ "kind": "inventory.suggest-reorder", "payload": payload });
    ada.post("/api/v1/jobs", &job).await.expect(202);
    ada.settle().await;
    let dead = ada.rows("/api/v1/jobs?filter[state]=dead").await;
    assert_eq!((dead.len(), &dead[0]["last_error"], &dead[0]["attempt"]), (1, &json!("not found"), &json!(1)));
}

#[db_test]
async fn a_component_is_compiled_once_not_at_each_start(database: Database) {
    let cache = tempfile::tempdir().unwrap();
    let options = Options::default().set("PURLIN_CACHE_DIR", cache.path().display());
    let mut host = Host::start_with(database, options.clone()).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let compiled = || {
        let files = std::fs::read_dir(cache.path()).unwrap().map(|f| f.unwrap());
        files.map(|f| (f.file_name(), f.metadata().unwrap().modified().unwrap())).collect::<Vec<_>>()
    };
    let first = compiled();
    assert_eq!(first.len(), 1);
    for _ in 0..2 {
        assert!(host.stop().await);
        host.restart(options.clone()).await;
        assert_eq!(ada.at(&host.base).run("inventory.valuation", json!({})).await["state"], "succeeded");
        assert_eq!(compiled(), first);
    }
    // Damaged, it is made again rather than trusted; missing, it is made from the database.
    let file = cache.path().join(&first[0].0);
    for damage in [Some(b"damaged".as_slice()), None] {
        assert!(host.stop().await);
        match damage {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        host.restart(options.clone()).await;
        assert_eq!(ada.at(&host.base).run("inventory.valuation", json!({})).await["state"], "succeeded");
        assert!(std::fs::metadata(&file).unwrap().len() > 1_000);
    }
}

#[db_test]
async fn a_label_of_an_item_is_printed_for_whoever_may(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "inventory").await;
    let item = ada.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt" })).await;
    let label = format!("/api/v1/apps/inventory/-/items/{item}/label");
    assert_eq!(ada.get(&label).await.expect(200), "A-1 · Bolt\n");
    let viewer = host.member(&ada, "viewer@acme.example", &["viewer"]).await;
    assert_eq!(viewer.get(&label).await.problem(403), "forbidden", "to print is more than to read");
    let other = label.replace(&item, "01930000-0000-7000-8000-000000000000");
    assert_eq!(ada.get(&other).await.problem(404), "not_found");
}
