use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Database, Host, text};

#[db_test]
async fn a_role_is_made_changed_and_deleted_and_takes_effect_at_once(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let bob = host.member(&ada, "bob@acme.example", &[]).await;
    assert_eq!(bob.get("/api/v1/jobs").await.problem(403), "forbidden");
    let made = ada.post("/api/v1/roles", &json!({ "name": "ops", "permissions": ["jobs:read"] })).await;
    let path = made.headers["location"].to_str().unwrap().to_owned();
    let role = made.expect(201);
    let assign =
        ada.request(Method::PUT, &format!("/api/v1/users/{}/roles/{}", text(&bob.me["user"]["id"]), text(&role["id"])));
    assert_eq!(ada.send(assign).await.expect(200)["roles"], json!(["ops"]));
    bob.get("/api/v1/jobs").await.expect(200);
    assert_eq!(bob.get("/api/v1/events").await.problem(403), "forbidden");
    let added = ada.post(&format!("{path}/permissions"), &json!({ "permission": "events:read" })).await.expect(201);
    bob.get("/api/v1/events").await.expect(200);
    ada.delete(&format!("{path}/permissions/{}", text(&added["id"]))).await.expect(204);
    assert_eq!(bob.get("/api/v1/events").await.problem(403), "forbidden", "what was taken away stops at once");
    let renamed = ada.patch(&path, &json!({ "name": "operations" })).await.expect(200);
    assert_eq!((&renamed["name"], renamed["permissions"].as_array().unwrap().len()), (&json!("operations"), 1));
    ada.delete(&path).await.expect(204);
    assert_eq!(bob.get("/api/v1/jobs").await.problem(403), "forbidden");
    assert_eq!(ada.get(&path).await.problem(404), "not_found");
    let told: Vec<Value> = ada
        .rows("/api/v1/audit-logs?filter[action][like]=role.*&sort=created_at")
        .await
        .iter()
        .map(|row| row["action"].clone())
        .collect();
    assert_eq!(told, ["role.created", "role.assigned", "role.updated", "role.updated", "role.updated", "role.deleted"]);
}

#[db_test]
async fn the_platforms_roles_cannot_be_edited(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for role in ada.rows("/api/v1/roles").await {
        assert_eq!(role["is_system"], true);
        let path = format!("/api/v1/roles/{}", text(&role["id"]));
        assert_eq!(ada.patch(&path, &json!({ "name": "mine" })).await.problem(409), "system_role");
        assert_eq!(ada.delete(&path).await.problem(409), "system_role");
        let permission = json!({ "permission": "jobs:read" });
        assert_eq!(ada.post(&format!("{path}/permissions"), &permission).await.problem(409), "system_role");
        for permission in ada.rows(&format!("{path}/permissions")).await {
            let one = format!("{path}/permissions/{}", text(&permission["id"]));
            assert_eq!(ada.delete(&one).await.problem(409), "system_role");
        }
    }
    assert_eq!(ada.post("/api/v1/roles", &json!({ "name": "admin" })).await.problem(409), "role_taken");
    let unknown = json!({ "name": "x", "permissions": ["nothing:read"] });
    assert_eq!(ada.post("/api/v1/roles", &unknown).await.problem(422), "invalid");
}

#[db_test]
async fn the_catalogue_holds_what_the_platform_and_its_plugins_define(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["inventory"]).await;
    let ada = host.tenant("acme").await;
    let plugin = ada.rows("/api/v1/permissions?filter[plugin]=inventory&sort=resource,action").await;
    assert!(plugin.iter().any(|p| p["resource"] == "inventory.items" && p["action"] == "read"));
    let core = ada.rows("/api/v1/permissions?filter[plugin][null]=true&page[size]=200").await;
    assert!(core.iter().any(|p| p["resource"] == "users" && p["action"] == "update"));
    // Every permission that an operation needs can be granted.
    for operation in purlin_api::operations() {
        if let purlin_api::Needs::Permission(resource, action) = operation.needs {
            assert!(core.iter().any(|p| p["resource"] == resource && p["action"] == action), "{resource}:{action}");
        }
    }
}

#[db_test]
async fn a_decision_is_explained_by_the_chain_that_led_to_it(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let bob = host.member(&ada, "bob@acme.example", &["member"]).await;
    let ask = |user: &Value| json!({ "user_id": user, "resource": "jobs", "action": "create" });
    let why = ada.post("/api/v1/access/explain", &ask(&bob.me["user"]["id"])).await.expect(200);
    assert_eq!((&why["allowed"], &why["permission"]), (&json!(true), &json!("jobs:create")));
    assert_eq!(why["chain"][0]["because"], json!(["role member: jobs:create"]));
    assert_eq!(why["chain"][1]["part"], "plan");
    let own = bob.post("/api/v1/access/explain", &json!({ "resource": "roles", "action": "delete" })).await.expect(200);
    assert_eq!((&own["allowed"], &own["chain"][0]["because"]), (&json!(false), &json!([])));
    let low = host.member(&ada, "low@acme.example", &[]).await;
    assert_eq!(low.post("/api/v1/access/explain", &ask(&bob.me["user"]["id"])).await.problem(403), "forbidden");
    let bad = json!({ "resource": "No Such", "action": "x" });
    assert_eq!(ada.post("/api/v1/access/explain", &bad).await.problem(422), "invalid");
}
