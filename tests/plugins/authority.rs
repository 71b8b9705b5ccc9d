//! Authority is user ∩ plugin grant ∩ tenant plan; the tenant is never the guest's to choose.

use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host, Options};

#[db_test]
async fn a_plugin_reads_another_plugins_collection_only_where_that_was_granted(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["probe", "inventory"]).await;
    let ada = host.tenant("acme").await;
    ada.enable("inventory").await;
    let item = ada.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt" })).await;
    let get = json!({ "collection": "inventory.items", "id": item });
    ada.post("/api/v1/installations", &json!({ "plugin": "probe", "grants": ["probe.notes:*"] })).await.expect(201);
    let refused = ada.run("probe.get", get.clone()).await;
    assert_eq!(refused["result"]["error"], "permission inventory.items:read was not granted to this plugin");
    let more = json!({ "plugin": "probe", "grants": ["probe.notes:*", "inventory.items:read"] });
    ada.post("/api/v1/installations", &more).await.expect(201);
    assert_eq!(ada.run("probe.get", get).await["result"]["found"]["sku"], "A-1");
}

#[db_test]
async fn a_plugin_finds_nothing_of_another_tenant(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["probe", "inventory"]).await;
    let (ada, bob) = (host.tenant("acme").await, host.tenant("bolts").await);
    for tenant in [&ada, &bob] {
        tenant.enable("probe").await;
        tenant.enable("inventory").await;
    }
    let note = bob.create("probe/notes", json!({ "text": "secret" })).await;
    let item = bob.create("inventory/items", json!({ "sku": "A-1", "name": "Bolt" })).await;
    for (collection, id) in [("notes", &note), ("probe.notes", &note), ("inventory.items", &item)] {
        let get = json!({ "collection": collection, "id": id });
        assert_eq!(ada.run("probe.get", get.clone()).await["result"], json!({ "error": "not found" }));
        assert!(bob.run("probe.get", get).await["result"]["found"].is_object());
    }
    let looked = ada.run("probe.look-around", json!({ "user": bob.me["user"]["id"] })).await;
    assert_eq!(looked["result"]["user"], json!({ "Err": "not found" }));
}

#[db_test]
async fn a_plugin_knows_who_caused_it_and_what_it_may_do(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let looked = ada.run("probe.look-around", json!({ "user": ada.me["user"]["id"] })).await["result"].clone();
    assert_eq!(looked["caused_by"], ada.me["user"]["id"]);
    assert_eq!(looked["user"], json!({ "Ok": "admin@acme.example" }));
    assert_eq!((&looked["own"], &looked["other"]), (&json!(true), &json!(false)));
    assert_eq!(looked["why"][0], "plugin grants: nothing covers inventory.items:delete");
    ada.post("/api/v1/installations", &json!({ "plugin": "probe", "grants": ["probe.notes:*"] })).await.expect(201);
    let looked = ada.run("probe.look-around", json!({ "user": ada.me["user"]["id"] })).await;
    assert_eq!(looked["result"]["user"], json!({ "Err": "permission users:read was not granted to this plugin" }));
}

#[db_test]
async fn what_a_plugin_did_while_it_was_disabled_does_not_count(database: Database) {
    let file = database.directory.path().join("fault");
    let options = Options::default().set("PURLIN_FAULT_POINT", "slow-commit").set("PURLIN_FAULT_FILE", file.display());
    let host = Host::start_with(database, options).await;
    let ada = host.tenant_with("acme", "probe").await;
    let job = ada.post("/api/v1/jobs", &json!({ "kind": "probe.everything" })).await.expect(202);
    while !file.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // The guest has returned; its commit comes in a second.
    ada.delete("/api/v1/installations/probe").await.expect(204);
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    let waiting = ada.get(&path).await.expect(200);
    assert_eq!((&waiting["state"], &waiting["attempt"], &waiting["crashes"]), (&json!("ready"), &json!(0), &json!(0)));
    assert!(ada.rows("/api/v1/audit-logs?filter[actor_kind]=plugin").await.is_empty());
    ada.enable("probe").await;
    assert_eq!(ada.wait_for_job(job["id"].as_str().unwrap()).await["state"], "succeeded");
    assert_eq!(ada.rows("/api/v1/apps/probe/notes").await.len(), 1);
}
