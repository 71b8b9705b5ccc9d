use purlin_test_macros::db_test;
use serde_json::json;

use crate::support::{Database, Host};

#[db_test]
async fn enabling_grants_what_is_asked_for_or_less_never_more(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["probe"]).await;
    let ada = host.tenant("acme").await;
    let enable = |grants: serde_json::Value| json!({ "plugin": "probe", "grants": grants });
    assert_eq!(
        ada.post("/api/v1/installations", &enable(json!(["jobs:read"]))).await.expect(422)["errors"][0]["code"],
        "not_asked"
    );
    assert_eq!(
        ada.post("/api/v1/installations", &enable(json!(["*:*"]))).await.expect(422)["errors"][0]["code"],
        "not_asked"
    );
    assert_eq!(ada.post("/api/v1/installations", &json!({ "plugin": "crm" })).await.problem(422), "invalid");
    let silent = ada.post("/api/v1/installations", &json!({ "plugin": "probe" })).await.expect(422);
    let told = &silent["errors"][0];
    assert_eq!(
        (&told["pointer"], &told["code"]),
        (&json!("/grants"), &json!("required")),
        "nothing is granted by silence"
    );
    assert!(told["detail"].as_str().unwrap().contains("probe.notes:*, "), "{told}");
    let version = ada.get("/api/v1/plugins/probe/versions/0.1.0").await.expect(200);
    assert_eq!(version["requested_permissions"][0], "probe.notes:*", "what is requested is seen before");
    let some = ada.post("/api/v1/installations", &enable(json!(["probe.notes:read"]))).await.expect(201);
    assert_eq!(some["grants"], json!(["probe.notes:read"]));
    assert_eq!(
        some["asks_for"],
        json!([
            "probe.notes:*",
            "probe.effects:*",
            "probe.people:*",
            "probe.loans:*",
            "probe.values:*",
            "probe.tools:use",
            "users:read",
            "inventory.items:read",
            "egress.localhost:fetch",
            "egress.*.example.com:fetch",
            "inventory.items:check"
        ])
    );
    let silent = ada.post("/api/v1/installations", &json!({ "plugin": "probe" })).await.expect(201);
    assert_eq!(silent["grants"], some["grants"], "silence does not widen consent");
    let all = ada.post("/api/v1/installations", &enable(some["asks_for"].clone())).await.expect(201);
    assert_eq!(all["grants"], all["asks_for"]);
    let rows = ada.rows("/api/v1/audit-logs?filter[action]=plugin.enabled&sort=created_at").await;
    assert_eq!(rows[2]["changes"]["grants"]["before"], json!(["probe.notes:read"]));
}

#[db_test]
async fn a_disabled_plugin_does_nothing_and_catches_up_when_enabled_again(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let first = ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo", "delay_ms": 1_500 })).await.expect(202);
    ada.delete("/api/v1/installations/probe").await.expect(204);
    assert_eq!(ada.get("/api/v1/apps/probe/notes").await.problem(404), "not_found");
    assert_eq!(ada.post("/api/v1/jobs", &json!({ "kind": "probe.echo" })).await.problem(422), "invalid");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let path = format!("/api/v1/jobs/{}", first["id"].as_str().unwrap());
    assert_eq!(ada.get(&path).await.expect(200)["state"], "ready");
    ada.enable("probe").await;
    assert_eq!(ada.wait_for_job(first["id"].as_str().unwrap()).await["state"], "succeeded");
    ada.get("/api/v1/apps/probe/notes").await.expect(200);
}

#[db_test]
async fn a_plugin_that_is_not_installed_is_not_found(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["inventory"]).await;
    let ada = host.tenant("acme").await;
    for path in
        ["/api/v1/installations/inventory", "/api/v1/installations/inventory/logs", "/api/v1/apps/inventory/items"]
    {
        assert_eq!(ada.get(path).await.problem(404), "not_found");
    }
    assert_eq!(ada.delete("/api/v1/installations/inventory").await.problem(404), "not_found");
}
