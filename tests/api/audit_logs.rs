use purlin_test_macros::db_test;
use reqwest::Method;
use serde_json::json;

use crate::support::{Database, Host};

#[db_test]
async fn a_row_tells_who_from_where_and_in_which_request(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let change = ada
        .request(Method::PATCH, "/api/v1/users/me")
        .header("x-request-id", "request-42")
        .header("user-agent", "tests/1")
        .json(&json!({ "first_name": "Ada" }));
    ada.send(change).await.expect(200);
    let row = &ada.rows("/api/v1/audit-logs?filter[request_id]=request-42").await[0];
    assert_eq!((&row["actor_kind"], &row["actor"]), (&json!("user"), &ada.me["user"]["id"]));
    assert_eq!((&row["ip"], &row["user_agent"]), (&json!("127.0.0.1"), &json!("tests/1")));
    assert_eq!((&row["action"], &row["resource_id"]), (&json!("user.updated"), &ada.me["user"]["id"]));
    let one = ada.get(&format!("/api/v1/audit-logs/{}", row["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(one, *row);
}

#[db_test]
async fn uploading_a_plugin_is_audited_with_the_operator(database: Database) {
    let host = Host::start(database).await;
    host.upload(&["inventory"]).await;
    let rows = host.operator().await.rows("/api/v1/audit-logs?filter[action]=plugin.uploaded").await;
    assert_eq!((rows.len(), &rows[0]["resource_id"]), (1, &json!("inventory")));
}

#[db_test]
async fn the_log_is_exported_line_by_line_with_the_filters_of_the_list(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for n in 0..450 {
        ada.patch("/api/v1/users/me", &json!({ "first_name": format!("A{n}") })).await.expect(200);
    }
    let answer = ada.get("/api/v1/audit-logs/export?filter[action]=user.updated").await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let text = answer.body.as_str().unwrap().to_owned();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<String> =
        rows.iter().map(|r| r["changes"]["first_name"]["after"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, (0..450).map(|n| format!("A{n}")).collect::<Vec<_>>(), "all of them, the oldest first");
    assert_eq!(ada.get("/api/v1/audit-logs/export?filter[nothing]=1").await.problem(400), "bad_parameter");
}

#[db_test]
async fn a_list_that_does_not_say_looks_at_the_last_ninety_days(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    // A row of long ago, in a month that has no partition: written past the host.
    if host.database.is_postgres() {
        host.database
            .execute("CREATE TABLE audit_old PARTITION OF audit_log FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')")
            .await;
    }
    host.database
        .execute(
            "INSERT INTO audit_log (tenant_id, id, actor_kind, actor, action, resource_type, changes, request_id, created_at)
             SELECT id, id, 'system', 'purlin', 'old.row', 'x', '{}', 'r', '2020-01-15T00:00:00+00:00' FROM tenants WHERE slug = 'acme'",
        )
        .await;
    assert!(ada.rows("/api/v1/audit-logs?filter[action]=old.row").await.is_empty());
    let back = "filter[created_at][gte]=2020-01-01T00:00:00Z";
    assert_eq!(ada.rows(&format!("/api/v1/audit-logs?filter[action]=old.row&{back}")).await.len(), 1);
}

#[db_test]
async fn every_mutation_leaves_one_row_in_its_transaction(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let count = async || {
        let list = ada.request(Method::GET, "/api/v1/audit-logs?page[size]=1").header("prefer", "count=exact");
        ada.send(list).await.expect(200)["page"]["total"].as_i64().unwrap()
    };
    let mut before = count().await;
    let role = ada.post("/api/v1/roles", &json!({ "name": "ops" })).await.expect(201);
    let role = format!("/api/v1/roles/{}", role["id"].as_str().unwrap());
    for (method, path, body) in [
        (Method::PATCH, role.clone(), json!({ "description": "x" })),
        (Method::POST, format!("{role}/permissions"), json!({ "permission": "jobs:read" })),
        (Method::DELETE, role.clone(), json!({})),
        (Method::POST, "/api/v1/users".to_owned(), json!({ "email": "bob@acme.example" })),
        (Method::POST, "/api/v1/invitations".to_owned(), json!({ "email": "eve@acme.example" })),
        (Method::POST, "/api/v1/api-keys".to_owned(), json!({ "name": "k", "scopes": ["jobs:read"] })),
        (Method::PATCH, "/api/v1/tenants/me".to_owned(), json!({ "name": "Other" })),
    ] {
        before += 1;
        assert_eq!(count().await, before, "before {method} {path}");
        let answer = ada.send(ada.request(method.clone(), &path).json(&body)).await;
        assert!(answer.status < 300, "{method} {path}: {}", answer.body);
    }
    // One that is refused, and one that changes nothing, leave none.
    before += 1;
    assert_eq!(ada.post("/api/v1/users", &json!({ "email": "bob@acme.example" })).await.status, 409);
    ada.patch("/api/v1/tenants/me", &json!({ "name": "Other" })).await.expect(200);
    assert_eq!(count().await, before);
}
