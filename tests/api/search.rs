//! Searches disregard case and composition in every script, on both databases, also of what an older
//! host stored.

use std::fs;

use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host};

/// How texts are written, and how they are looked for.
const TEXTS: [(&str, &str); 5] = [
    ("\u{c9}rable", "\u{e9}rable"),
    ("e\u{301}t\u{e9}", "\u{c9}T\u{c9}"),
    ("Stra\u{df}e", "STRASSE"),
    ("\u{fb01}n", "FIN"),
    ("\u{3a3}\u{3af}\u{3c3}\u{3c5}\u{3c6}\u{3bf}\u{3c2}", "\u{3c3}\u{3af}\u{3c3}\u{3c5}\u{3c6}\u{3bf}\u{3c3}"),
];

/// How many rows a list has where a field is like this.
async fn found(client: &Client, list: &str, field: &str, text: &str) -> usize {
    client.rows(&format!("{list}?filter[{field}][ilike]={text}*")).await.len()
}

/// Assert that every list finds what it has.
async fn assert_found(operator: &Client, ada: &Client) {
    for (written, looked_for) in TEXTS {
        let items = "/api/v1/apps/inventory/items";
        assert_eq!(found(ada, items, "name", looked_for).await, 1, "{looked_for} in records");
        assert_eq!(ada.rows(&format!("{items}?q={looked_for}")).await.len(), 1, "{looked_for} by a word");
        assert_eq!(found(ada, items, "name", written).await, 1, "{written} as it was written");
        for (list, field) in [
            ("users", "first_name"),
            ("users", "last_name"),
            ("users", "email"),
            ("roles", "name"),
            ("api-keys", "name"),
            ("invitations", "email"),
        ] {
            let list = format!("/api/v1/{list}");
            assert_eq!(found(ada, &list, field, looked_for).await, 1, "{looked_for} in {field} of {list}");
        }
        assert_eq!(found(operator, "/api/v1/tenants", "name", looked_for).await, 1, "{looked_for} in tenants");
        let logs = "/api/v1/installations/probe/logs";
        assert_eq!(found(ada, logs, "message", looked_for).await, 1, "{looked_for} in a log");
    }
    assert_eq!(found(ada, "/api/v1/apps/inventory/items", "name", "erable").await, 0, "another letter is another");
}

/// Enqueue the jobs that the migration does.
async fn enqueue_as_the_migration_does(host: &Host) {
    let folder = if host.database.url.is_some() { "postgres" } else { "sqlite" };
    let migration =
        fs::read_to_string(format!("{}/../migrations/{folder}/0018_folded_texts.up.sql", env!("CARGO_MANIFEST_DIR")))
            .unwrap();
    let from = migration.find("INSERT INTO jobs").unwrap();
    let until = from + migration[from..].find(';').unwrap();
    host.database.execute(&migration[from..until]).await;
}

#[db_test]
async fn searches_disregard_case_in_every_script(database: Database) {
    let host = Host::start(database).await;
    let operator = host.operator().await;
    let ada = host.tenant_with("acme", "inventory").await;
    host.upload(&["probe"]).await;
    ada.enable("probe").await;
    for (n, (text, _)) in TEXTS.into_iter().enumerate() {
        ada.create("inventory/items", json!({ "sku": n.to_string(), "name": text, "stock": 1 })).await;
        let user = json!({ "email": format!("{text}@acme.example"), "password": "correct horse battery", "first_name": text, "last_name": text });
        ada.post("/api/v1/users", &user).await.expect(201);
        ada.post("/api/v1/roles", &json!({ "name": text, "permissions": [] })).await.expect(201);
        ada.post("/api/v1/api-keys", &json!({ "name": text, "scopes": ["users:read"] })).await.expect(201);
        let invitation = json!({ "email": format!("{text}@other.example"), "role_ids": [] });
        ada.post("/api/v1/invitations", &invitation).await.expect(201);
        let registration = json!({ "tenant": { "name": text, "slug": format!("of-{n}") }, "email": format!("a{n}@x.example"), "password": "correct horse battery" });
        host.anonymous().post("/api/v1/auth/register", &registration).await.expect(201);
        ada.post("/api/v1/apps/probe/-/script", &json!({ "calls": [{ "do": "log", "text": text }] })).await.expect(200);
    }
    assert_found(&operator, &ada).await;
    // The same of what an older host stored: the migration has a job make it.
    for table in ["users", "tenants", "roles", "api_keys", "invitations", "plugin_logs", "records"] {
        host.database.execute(&format!("UPDATE {table} SET folded = NULL")).await;
    }
    assert_eq!(found(&ada, "/api/v1/roles", "name", "\u{e9}rable").await, 0);
    enqueue_as_the_migration_does(&host).await;
    ada.settle().await;
    let job: &Value = &ada.rows("/api/v1/jobs?filter[kind]=fold_texts").await[0];
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_found(&operator, &ada).await;
}

#[db_test]
async fn an_account_of_an_older_host_has_the_one_form_of_its_address_after_the_upgrade(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    let bob = host.member(&ada, "bob@acme.example", &["member"]).await;
    host.database.execute("UPDATE users SET email = 'bob@m\u{fc}nchen.example' WHERE email = 'bob@acme.example'").await;
    enqueue_as_the_migration_does(&host).await;
    ada.settle().await;
    let users = ada.rows("/api/v1/users?filter[email]=bob@xn--mnchen-3ya.example").await;
    assert_eq!((users.len(), &users[0]["id"]), (1, &bob.me["user"]["id"]));
}

#[db_test]
async fn keys_that_programs_made_up_are_searched_by_their_case(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    for (list, field) in [("jobs", "ordering_key"), ("events", "subject"), ("audit-logs", "resource_id")] {
        let refused = ada.get(&format!("/api/v1/{list}?filter[{field}][ilike]=a*")).await.expect(400);
        assert!(refused["errors"][0]["detail"].as_str().unwrap().contains("use `like`"), "{refused:#}");
        ada.get(&format!("/api/v1/{list}?filter[{field}][like]=a*")).await.expect(200);
    }
}
