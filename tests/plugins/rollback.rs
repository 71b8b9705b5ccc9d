//! Back to the version before: what it means for records, and who may.

use purlin_test_macros::db_test;
use serde_json::json;

use super::life::{INSTALLATION, enable, upload};
use crate::support::{Database, Host};

#[db_test]
async fn what_a_rollback_means_for_the_records_is_told_before(database: Database) {
    let host = Host::start(database).await;
    upload(&host, b"AE").await;
    let ada = host.tenant("acme").await;
    let path = format!("{INSTALLATION}/rollback");
    assert_eq!(ada.get(&path).await.problem(404), "not_found");
    enable(&ada, "2.1.0").await;
    assert_eq!(ada.get(&path).await.problem(409), "no_previous_version");
    // This version takes longer tales than the one before.
    enable(&ada, "1.0.0").await;
    ada.settle().await;
    let before = ada.rows("/api/v1/apps/story/tales?page[size]=200").await.len();
    ada.create("story/tales", json!({ "text": "short" })).await;
    let fits = ada.get(&path).await.expect(200);
    assert_eq!(fits["collections"][0]["rejected"], 0, "{fits:#}");
    let long = ada.create("story/tales", json!({ "text": "x".repeat(101) })).await;
    let told = ada.get(&path).await.expect(200);
    assert_eq!((&told["version"], &told["previous_version"]), (&json!("1.0.0"), &json!("2.1.0")));
    let tales = &told["collections"][0];
    assert_eq!((&tales["collection"], &tales["rejected"]), (&json!("tales"), &json!(1)), "{told:#}");
    assert_eq!((&tales["records"], &told["is_complete"]), (&json!(before + 2), &json!(true)));
    assert_eq!(
        (&tales["examples"][0]["id"], &tales["examples"][0]["errors"][0]["pointer"]),
        (&json!(long), &json!("/text"))
    );
    // Nobody else is told.
    let bob = host.member(&ada, "bob@acme.example", &[]).await;
    assert_eq!(bob.get(&path).await.status, 403);
}

#[db_test]
async fn a_rollback_grants_nothing_that_its_caller_lacks(database: Database) {
    let host = Host::start(database).await;
    upload(&host, b"AB").await;
    let ada = host.tenant("acme").await;
    let role =
        json!({ "name": "desk", "permissions": ["installations:create", "installations:read", "story.tales:*"] });
    let role = ada.post("/api/v1/roles", &role).await.expect(201);
    let new = json!({ "email": "desk@acme.example", "password": "correct horse battery", "role_ids": [role["id"]] });
    ada.post("/api/v1/users", &new).await.expect(201);
    let login = json!({ "email": "desk@acme.example", "password": "correct horse battery", "tenant": "acme" });
    let desk = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    let grants = json!({ "plugin": "story", "version": "1.1.0", "grants": ["events:read", "story.tales:*"] });
    ada.post("/api/v1/installations", &grants).await.expect(201);
    let fewer = json!({ "plugin": "story", "version": "1.0.0", "grants": ["story.tales:*"] });
    ada.post("/api/v1/installations", &fewer).await.expect(201);
    let path = format!("{INSTALLATION}/rollback");
    assert_eq!(desk.post(&path, &json!({})).await.problem(403), "forbidden");
    assert_eq!(ada.get(INSTALLATION).await.expect(200)["version"], "1.0.0", "nothing has changed");
    ada.post(&path, &json!({})).await.expect(200);
    assert_eq!(ada.get(INSTALLATION).await.expect(200)["version"], "1.1.0");
    // With a role that has what is granted again, one may.
    enable(&ada, "1.0.0").await;
    let id = role["id"].as_str().unwrap();
    ada.post(&format!("/api/v1/roles/{id}/permissions"), &json!({ "permission": "events:read" })).await.expect(201);
    desk.post(&path, &json!({})).await.expect(200);
}

#[db_test]
async fn a_version_that_was_good_by_the_rules_of_its_time_still_runs(database: Database) {
    let mut host = Host::start(database).await;
    upload(&host, b"A").await;
    let ada = host.tenant("acme").await;
    enable(&ada, "1.0.0").await;
    ada.settle().await;
    host.stop().await;
    host.database
        .execute(if host.database.is_postgres() {
            r#"UPDATE plugin_versions SET descriptor = jsonb_set(descriptor, '{collections,0,schema,properties,by,format}', '"phone"')"#
        } else {
            "UPDATE plugin_versions SET descriptor = json_set(descriptor, '$.collections[0].schema.properties.by.format', 'phone')"
        })
        .await;
    host.restart(crate::support::Options::default()).await;
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery", "tenant": "acme" });
    let ada = host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await;
    ada.get("/api/v1/installations").await.expect(200);
    ada.create("story/tales", json!({ "text": "once", "by": "5 55" })).await;
}
