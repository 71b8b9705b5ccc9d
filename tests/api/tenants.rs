use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host};

#[db_test]
async fn an_administrator_changes_the_tenant(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let change =
        json!({ "name": "Acme & Co", "domain": "Acme.example", "settings": { "currency": "EUR", "theme": "dark" } });
    let tenant = ada.patch("/api/v1/tenants/me", &change).await.expect(200);
    assert_eq!(tenant["domain"], "acme.example");
    let tenant = ada.patch("/api/v1/tenants/me", &json!({ "settings": { "theme": null } })).await.expect(200);
    assert_eq!(tenant["settings"], json!({ "currency": "EUR", "locale": "en", "time_zone": "UTC" }));
    assert_eq!(ada.get("/api/v1/tenants/me").await.expect(200)["name"], "Acme & Co");
    assert_eq!(ada.rows("/api/v1/audit-logs?filter[action]=tenant.updated").await.len(), 2);
}

#[db_test]
async fn a_domain_belongs_to_one_tenant(database: Database) {
    let host = Host::start(database).await;
    let domain = json!({ "domain": "shop.example" });
    host.tenant("acme").await.patch("/api/v1/tenants/me", &domain).await.expect(200);
    let bob = host.tenant("bolts").await;
    assert_eq!(bob.patch("/api/v1/tenants/me", &domain).await.problem(409), "domain_taken");
    let body = bob.patch("/api/v1/tenants/me", &json!({ "domain": "no host", "settings": [] })).await.expect(422);
    assert_eq!(body["errors"].as_array().unwrap().len(), 2);
}
