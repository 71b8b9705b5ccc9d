//! Rules over a set of records, which plugins hold by locking a key; and what a typed update and a
//! rollback leave of records that the code has never seen the like of.

use futures_util::future::join_all;
use purlin_test_macros::db_test;
use serde_json::{Value, json};

use crate::support::{Client, Database, Host};

const NOTES: &str = "/api/v1/apps/probe/notes";

async fn script(client: &Client, calls: Value) -> Vec<Value> {
    let answer = client.post("/api/v1/apps/probe/-/script", &json!({ "calls": calls })).await;
    answer.expect(200).as_array().unwrap().clone()
}

#[db_test]
async fn a_check_that_locks_a_key_holds_a_rule_over_a_set(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    for round in 0..15 {
        let set = format!("set {round}");
        let note = |n: usize| json!({ "text": format!("{round}/{n}"), "alone": set });
        let over_http = join_all((0..4).map(async |n| ada.post(NOTES, &note(n)).await.status));
        // A handler that writes is checked as people are.
        let by_plugin = script(&ada, json!([{ "do": "create", "collection": "notes", "data": note(4) }]));
        let (mut answers, made) = tokio::join!(over_http, by_plugin);
        answers.push(if made[0]["ok"].is_string() { 201 } else { 422 });
        answers.sort_unstable();
        assert_eq!(answers, [201, 422, 422, 422, 422], "round {round}: {made:?}");
        let present = ada.rows(&format!("{NOTES}?filter[alone]=set {round}")).await;
        assert_eq!(present.len(), 1, "round {round}");
    }
    // Others are not in its way.
    let free = join_all((0..4).map(async |n| {
        let note = json!({ "text": format!("free {n}"), "alone": format!("free {n}") });
        ada.post(NOTES, &note).await.status
    }));
    assert_eq!(free.await, [201; 4]);
}

#[db_test]
async fn handlers_that_lock_the_same_key_see_what_the_others_wrote(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let once = json!({ "calls": [{ "do": "create-once", "key": "effects of one", "data": { "key": "once" } }] });
    let jobs = join_all((0..12).map(async |_| ada.run("probe.script", once.clone()).await)).await;
    let made = jobs.iter().filter(|job| job["result"][0]["ok"] == "made").count();
    assert_eq!((jobs.iter().all(|job| job["state"] == "succeeded"), made), (true, 1), "{jobs:#?}");
    assert_eq!(ada.rows("/api/v1/apps/probe/effects?filter[key]=once").await.len(), 1);
    // What was locked is forgotten with the plugin's data.
    assert_eq!(host.database.count("SELECT count(*) FROM record_locks").await, 1);
    ada.delete("/api/v1/installations/probe").await.expect(204);
    ada.post("/api/v1/installations/probe/purge", &json!({ "confirm": "probe" })).await.expect(202);
    ada.settle().await;
    assert_eq!(host.database.count("SELECT count(*) FROM record_locks").await, 0);
}

#[db_test]
async fn a_key_to_lock_is_of_1_to_200_bytes_and_each_counts_as_a_write(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let answers = script(
        &ada,
        json!([
            { "do": "lock", "key": "k".repeat(200) },
            { "do": "lock", "key": "k".repeat(200) },
            { "do": "lock", "key": "k".repeat(201) },
            { "do": "lock", "key": "" },
            { "do": "lock", "key": "a\u{0}b" },
            { "do": "lock-many" },
        ]),
    );
    let answers = answers.await;
    assert!(answers[0]["ok"].is_null() && answers[1]["ok"].is_null() && answers[0]["error"].is_null(), "{answers:?}");
    for answer in &answers[2..5] {
        assert!(answer["error"].as_str().unwrap().contains("1 to 200 bytes"), "{answers:?}");
    }
    assert!(answers[5]["error"].as_str().unwrap().contains("Limit::Writes"), "{answers:?}");
}

#[db_test]
async fn a_typed_update_writes_what_it_changed_and_leaves_what_it_does_not_know(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant_with("acme", "probe").await;
    let id = ada.create("probe/notes", json!({ "text": "a", "n": 1, "later": { "by": "a newer version" } })).await;
    let data = async || ada.get(&format!("{NOTES}/{id}")).await.expect(200)["data"].clone();
    // This code knows the text and the number alone.
    script(&ada, json!([{ "do": "typed-update", "id": id, "n": 2 }])).await;
    assert_eq!(data().await, json!({ "text": "a", "n": 2, "later": { "by": "a newer version" } }));
    // An optional member can still be removed, by an update and by a patch.
    let of = |mut call: Value| {
        call["collection"] = json!("notes");
        call["id"] = json!(id);
        call
    };
    let without = json!({ "text": "a", "later": { "by": "a newer version" } });
    let updated = script(&ada, json!([of(json!({ "do": "update", "data": without }))])).await;
    assert_eq!((data().await, updated[0]["ok"].clone()), (without, json!(3)));
    let patched = script(&ada, json!([of(json!({ "do": "patch", "data": { "later": null, "n": 5 } }))])).await;
    assert_eq!(patched[0]["ok"], json!({ "text": "a", "n": 5 }));
    assert_eq!(data().await, json!({ "text": "a", "n": 5 }));
    // What a patch makes of the record is checked as an update is.
    let wrong = script(&ada, json!([of(json!({ "do": "patch", "data": { "text": null } }))])).await;
    assert!(wrong[0]["error"].as_str().unwrap().contains("text"), "{wrong:?}");
    assert_eq!(data().await, json!({ "text": "a", "n": 5 }));
}
