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
