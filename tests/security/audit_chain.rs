//! The audit log, tampered with past the host: whatever was done to it is found.

use purlin_test_macros::db_test;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::{Client, Database, Host, figure};

const ROWS: i64 = 40;

async fn verification(client: &Client) -> Value {
    client.get("/api/v1/audit-logs/verify").await.expect(200)
}

async fn fill(client: &Client) {
    for n in 0..ROWS {
        client.patch("/api/v1/users/me", &json!({ "first_name": format!("A{n}") })).await.expect(200);
    }
}

/// Something done to the log: what, and the statements that do it.
fn tampering(random: &mut StdRng, last: i64) -> (&'static str, String) {
    let at = random.random_range(1..=last);
    let row = format!("WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 'acme') AND seq = {at}");
    match random.random_range(0..8) {
        0 => ("edit the action", format!("UPDATE audit_log SET action = 'x.y' {row}")),
        1 => ("edit the actor", format!("UPDATE audit_log SET actor = 'somebody' {row}")),
        2 => ("edit what changed", format!("UPDATE audit_log SET changes = '{{\"a\": {at}}}' {row}")),
        3 => ("edit the address", format!("UPDATE audit_log SET ip = '192.0.2.1' {row}")),
        4 => ("delete a row", format!("DELETE FROM audit_log {row}")),
        5 => {
            let other = at % last + 1;
            let tenant = "tenant_id = (SELECT id FROM tenants WHERE slug = 'acme')";
            (
                "swap two rows",
                format!(
                    "UPDATE audit_log SET seq = -1 WHERE {tenant} AND seq = {at};
                 UPDATE audit_log SET seq = {at} WHERE {tenant} AND seq = {other};
                 UPDATE audit_log SET seq = {other} WHERE {tenant} AND seq = -1"
                ),
            )
        }
        6 => (
            "cut the tail",
            format!(
                "DELETE FROM audit_log WHERE tenant_id = (SELECT id FROM tenants WHERE slug = 'acme') AND seq >= {at}"
            ),
        ),
        _ => (
            "edit the user agent and forget the hash",
            format!("UPDATE audit_log SET user_agent = 'x', hash = NULL {row}"),
        ),
    }
}

#[db_test]
async fn every_edit_deletion_reordering_and_cut_is_found(database: Database) {
    let host = Host::start(database).await;
    let (ada, bob) = (host.tenant("acme").await, host.tenant("bolts").await);
    fill(&ada).await;
    let clean = verification(&ada).await;
    assert_eq!((&clean["intact"], &clean["findings"]), (&json!(true), &json!([])), "{clean:#}");
    let last = clean["last_seq"].as_i64().unwrap();
    assert!(last >= ROWS && clean["checkpoints"].as_i64().unwrap() >= 1, "{clean:#}");
    assert_eq!(verification(&bob).await["intact"], true);
    host.database.execute("CREATE TABLE kept AS SELECT * FROM audit_log").await;
    let trials = figure(40, 1_000);
    let mut random = StdRng::seed_from_u64(7);
    for trial in 0..trials {
        let (what, sql) = tampering(&mut random, last);
        host.database.execute(&sql).await;
        let found = verification(&ada).await;
        assert_eq!(found["intact"], false, "trial {trial}: {what}: {sql}");
        assert!(!found["findings"].as_array().unwrap().is_empty());
        host.database.execute("DELETE FROM audit_log; INSERT INTO audit_log SELECT * FROM kept").await;
    }
    crate::support::measured!("{trials} of {trials} tamperings found");
    assert_eq!(verification(&ada).await["intact"], true, "put back as it was, it is intact");
    assert_eq!(verification(&bob).await["intact"], true);
}

#[db_test]
async fn a_tail_cut_with_its_head_and_its_checkpoints_is_found_by_what_is_kept_apart(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    fill(&ada).await;
    let clean = verification(&ada).await;
    let last = clean["last_seq"].as_i64().unwrap();
    let cut = last - 5;
    let own = "tenant_id = (SELECT id FROM tenants WHERE slug = 'acme')";
    host.database
        .execute(&format!(
            "DELETE FROM audit_log WHERE {own} AND seq > {cut};
             DELETE FROM audit_checkpoints WHERE {own} AND seq > {cut};
             UPDATE audit_heads SET seq = {cut}, hash = (SELECT hash FROM audit_log WHERE {own} AND seq = {cut}) WHERE {own}"
        ))
        .await;
    let found = verification(&ada).await;
    assert_eq!((&found["intact"], &found["findings"][0]["code"]), (&json!(false), &json!("cut")), "{found:#}");
    assert!(found["findings"][0]["detail"].as_str().unwrap().contains("kept apart"));
}

#[db_test]
async fn a_row_that_no_longer_has_to_be_kept_goes_and_the_rest_still_verifies(database: Database) {
    let plans = json!({ "standard": { "audit_days": 30 } });
    let options = crate::support::Options::default().set("PURLIN_PLANS", plans);
    let mut host = Host::start_with(database, options.clone()).await;
    let ada = host.tenant("acme").await;
    fill(&ada).await;
    let before = verification(&ada).await;
    assert!(host.stop().await);
    // Time passes for the first rows; the chain is made anew over them, as if they were old.
    if host.database.is_postgres() {
        host.database
            .execute(
                "CREATE TABLE audit_log_2020_01 PARTITION OF audit_log FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
                 ALTER TABLE audit_log_2020_01 ENABLE ROW LEVEL SECURITY; ALTER TABLE audit_log_2020_01 FORCE ROW LEVEL SECURITY",
            )
            .await;
    }
    let own = "tenant_id = (SELECT id FROM tenants WHERE slug = 'acme')";
    host.database
        .execute(&format!(
            "UPDATE audit_log SET created_at = '2020-01-15T00:00:00+00:00', mac = NULL WHERE {own} AND seq <= 10;
             UPDATE audit_log SET seq = NULL, hash = NULL WHERE {own};
             DELETE FROM audit_heads; DELETE FROM audit_checkpoints"
        ))
        .await;
    std::fs::remove_dir_all(host.database.directory.path().join("audit-checkpoints")).unwrap();
    // The host tidies up when it starts: first the rows get their place, then the old ones go.
    host.restart(options.clone()).await;
    let last = before["last_seq"].as_i64().unwrap();
    while verification(&ada.at(&host.base)).await["last_seq"].as_i64() < Some(last) {}
    assert!(host.stop().await);
    host.restart(options).await;
    let ada = ada.at(&host.base);
    let mut after = Value::Null;
    for _ in 0..100 {
        after = verification(&ada).await;
        if after["first_seq"] == 11 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!((&after["first_seq"], &after["intact"]), (&json!(11), &json!(true)), "{after:#}");
    assert_eq!(after["rows"].as_i64().unwrap(), after["last_seq"].as_i64().unwrap() - 10);
    if host.database.is_postgres() {
        let mut conn = PgConnection::connect(host.database.url.as_ref().unwrap()).await.unwrap();
        let months = "SELECT count(*) FROM pg_class WHERE relname = 'audit_log_2020_01'";
        for _ in 0..100 {
            let (left,): (i64,) = sqlx::query_as(months).fetch_one(&mut conn).await.unwrap();
            if left == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let (left,): (i64,) = sqlx::query_as(months).fetch_one(&mut conn).await.unwrap();
        assert_eq!(left, 0, "a month that nobody has to keep is dropped whole");
    }
    // A cut that nobody signed is no cut.
    host.database.execute(&format!("DELETE FROM audit_log WHERE {own} AND seq <= 15")).await;
    assert_eq!(verification(&ada).await["intact"], false);
}
