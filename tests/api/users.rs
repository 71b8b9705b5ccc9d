use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Database, Host};

#[db_test]
async fn users_change_their_own_names_audited_and_told(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let me = ada.patch("/api/v1/users/me", &json!({ "first_name": "Ada", "last_name": "Lovelace" })).await.expect(200);
    assert_eq!(me["first_name"], "Ada");
    let me = ada.patch("/api/v1/users/me", &json!({ "last_name": null })).await.expect(200);
    assert_eq!((&me["first_name"], &me["last_name"]), (&json!("Ada"), &Value::Null));
    let rows = ada.rows("/api/v1/audit-logs?filter[action]=user.updated&sort=created_at").await;
    assert_eq!(rows[1]["changes"], json!({ "last_name": { "before": "Lovelace", "after": null } }));
    assert_eq!(rows.len(), 2);
    ada.patch("/api/v1/users/me", &json!({ "first_name": "Ada" })).await.expect(200);
    assert_eq!(ada.rows("/api/v1/events?filter[type]=user.updated").await.len(), 2, "no change, no event");
}

#[db_test]
async fn users_cannot_change_what_is_not_theirs_to_change(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for body in
        [json!({ "is_operator": true }), json!({ "email": "x@y.example" }), json!({ "first_name": "x".repeat(200) })]
    {
        assert_eq!(ada.patch("/api/v1/users/me", &body).await.problem(422), "invalid");
    }
}
