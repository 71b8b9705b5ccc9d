//! The audit log, tampered with past the host: whatever was done to it is found.

use purlin_domain::clock::{Clock, SystemClock};
use purlin_test_macros::db_test;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::{Client, Database, Host, Options, figure};

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

/// A host that wrote its first rows so many days ago, and its tenant; stopped.
async fn aged(database: Database, days: i64, plans: &Value) -> (Host, Options) {
    let options = Options::default().set("PURLIN_PLANS", plans);
    let mut host = {
        // Tokens of then are good for as long as the test.
        let then = options.clone().set("PURLIN_FAULT_DAYS_BEHIND", days).set("PURLIN_ACCESS_TOKEN_MINUTES", 1_000_000);
        Host::start_with(database, then).await
    };
    let ada = host.tenant("acme").await;
    for n in 0..ROWS {
        ada.patch("/api/v1/users/me", &json!({ "first_name": format!("A{n}") })).await.expect(200);
    }
    assert_eq!(verification(&ada).await["intact"], true);
    assert!(host.stop().await);
    (host, options)
}

async fn sign_in(host: &Host) -> Client {
    let login = json!({ "email": "admin@acme.example", "password": "correct horse battery" });
    host.anonymous().signed_in("/api/v1/auth/login", &login, 200).await
}

/// Wait until the first place that is kept lies beyond this; what is verified then.
async fn cut_beyond(client: &Client, seq: i64) -> Value {
    let mut found = Value::Null;
    for _ in 0..100 {
        found = verification(client).await;
        if found["first_seq"].as_i64() > Some(seq) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    found
}

#[db_test]
async fn a_row_that_no_longer_has_to_be_kept_goes_and_the_rest_still_verifies(database: Database) {
    let plans = json!({ "standard": { "audit_days": 30 } });
    let (mut host, options) = aged(database, 60, &plans).await;
    // The host tidies up when it starts.
    host.restart(options).await;
    let ada = sign_in(&host).await;
    ada.patch("/api/v1/users/me", &json!({ "first_name": "Ada" })).await.expect(200);
    let after = cut_beyond(&ada, ROWS).await;
    assert!(after["first_seq"].as_i64() > Some(ROWS), "{after:#}");
    assert_eq!((&after["intact"], &after["findings"]), (&json!(true), &json!([])), "{after:#}");
    if host.database.is_postgres() {
        let mut conn = PgConnection::connect(host.database.url.as_ref().unwrap()).await.unwrap();
        let then = SystemClock.now() - chrono::TimeDelta::days(60);
        let month = format!("SELECT count(*) FROM pg_class WHERE relname = 'audit_log_{}'", then.format("%Y_%m"));
        let mut left = 1_i64;
        for _ in 0..100 {
            (left,) = sqlx::query_as(AssertSqlSafe(month.clone())).fetch_one(&mut conn).await.unwrap();
            if left == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(left, 0, "a month that nobody has to keep is dropped whole");
    }
    // A cut that nobody signed is no cut.
    let own = "tenant_id = (SELECT id FROM tenants WHERE slug = 'acme')";
    host.database
        .execute(&format!("DELETE FROM audit_log WHERE {own} AND seq <= (SELECT min(seq) FROM audit_log WHERE {own})"))
        .await;
    assert_eq!(verification(&ada).await["intact"], false);
}

/// Who writes to the database makes rows old, or their plan a short one: the host cuts nothing for
/// that, and says what is wrong.
#[db_test]
async fn evidence_is_not_erased_by_making_it_old(database: Database) {
    let plans = json!({ "standard": { "audit_days": 365 }, "free": { "audit_days": 30 } });
    let (mut host, options) = aged(database, 60, &plans).await;
    let own = "tenant_id = (SELECT id FROM tenants WHERE slug = 'acme')";
    // A plan that no host put the tenant on.
    host.database.execute("UPDATE tenants SET plan = 'free' WHERE slug = 'acme'").await;
    host.restart(options.clone()).await;
    let ada = sign_in(&host).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let found = verification(&ada).await;
    assert_eq!((&found["first_seq"], &found["intact"]), (&json!(1), &json!(true)), "{found:#}");
    assert!(host.log().contains("no host put this tenant on its plan"));
    assert!(host.stop().await);
    // Rows that are older than they are.
    host.database.execute("UPDATE tenants SET plan = 'standard' WHERE slug = 'acme'").await;
    if host.database.is_postgres() {
        host.database
            .execute(
                "CREATE TABLE audit_log_2020_01 PARTITION OF audit_log FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
                 ALTER TABLE audit_log_2020_01 ENABLE ROW LEVEL SECURITY; ALTER TABLE audit_log_2020_01 FORCE ROW LEVEL SECURITY",
            )
            .await;
    }
    let older = format!("UPDATE audit_log SET created_at = '2020-01-15T00:00:00+00:00' WHERE {own} AND seq <= 10");
    host.database.execute(&older).await;
    host.restart(options).await;
    let ada = sign_in(&host).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let found = verification(&ada).await;
    assert_eq!((&found["first_seq"], &found["intact"]), (&json!(1), &json!(false)), "{found:#}");
    assert!(host.log().contains("is not what was written"), "the host says why it keeps them");
}

#[db_test]
async fn a_chain_never_begins_anew_and_what_was_kept_apart_is_missed(database: Database) {
    let mut host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    fill(&ada).await;
    assert_eq!(verification(&ada).await["intact"], true);
    let own = "tenant_id = (SELECT id FROM tenants WHERE slug = 'acme')";
    assert!(host.stop().await);
    let kept = host.database.directory.path().join("audit-checkpoints");
    let away = host.database.directory.path().join("away");
    std::fs::rename(&kept, &away).unwrap();
    host.restart(Options::default()).await;
    let ada = ada.at(&host.base);
    let missed = verification(&ada).await;
    assert_eq!(
        (&missed["intact"], &missed["findings"][0]["code"]),
        (&json!(false), &json!("checkpoint")),
        "{missed:#}"
    );
    assert!(host.stop().await);
    std::fs::remove_dir_all(&kept).unwrap();
    std::fs::rename(&away, &kept).unwrap();
    // The chain's head, its places and its checkpoints are taken away, and rows are forged.
    host.database
        .execute(&format!(
            "DELETE FROM audit_heads WHERE {own}; DELETE FROM audit_checkpoints WHERE {own};
             UPDATE audit_log SET seq = NULL, hash = NULL, mac = NULL, actor = 'somebody' WHERE {own}"
        ))
        .await;
    host.restart(Options::default()).await;
    let ada = ada.at(&host.base);
    let found = verification(&ada).await;
    assert_eq!((&found["intact"], &found["rows"]), (&json!(false), &json!(0)), "nothing vouches for what is there");
    assert!(found["findings"].to_string().contains("its head is gone"), "{found:#}");
}

#[db_test]
async fn a_plan_is_vouched_for_by_whoever_names_it_and_by_nothing_else(database: Database) {
    let host = Host::start(database).await;
    let ada = host.tenant("acme").await;
    host.database.execute("UPDATE tenants SET plan = 'free', plan_mac = 'planted' WHERE slug = 'acme'").await;
    let planted = async || host.database.count("SELECT count(*) FROM tenants WHERE plan_mac = 'planted'").await;
    let operator = host.operator().await;
    let path = format!("/api/v1/tenants/{}", ada.me["tenant"]["id"].as_str().unwrap());
    for verb in ["suspend", "activate"] {
        operator.post(&format!("{path}/{verb}"), &json!({})).await.expect(200);
    }
    assert_eq!(planted().await, 1);
    operator.patch(&path, &json!({ "plan": "free" })).await.expect(200);
    assert_eq!(planted().await, 0);
}

#[db_test]
async fn a_plan_that_was_another_once_is_not_put_back_to_erase_evidence(database: Database) {
    let plans = json!({ "standard": { "audit_days": 365 }, "free": { "audit_days": 30 } });
    let options = Options::default().set("PURLIN_PLANS", plans);
    let then = options.clone().set("PURLIN_FAULT_DAYS_BEHIND", 60).set("PURLIN_ACCESS_TOKEN_MINUTES", 1_000_000);
    let mut host = Host::start_with(database, then).await;
    let (ada, operator) = (host.tenant("acme").await, host.operator().await);
    let path = format!("/api/v1/tenants/{}", ada.me["tenant"]["id"].as_str().unwrap());
    operator.patch(&path, &json!({ "plan": "free" })).await.expect(200);
    host.database.execute("CREATE TABLE kept AS SELECT plan_mac FROM tenants WHERE slug = 'acme'").await;
    operator.patch(&path, &json!({ "plan": "standard" })).await.expect(200);
    assert_eq!(verification(&ada).await["intact"], true);
    assert!(host.stop().await);
    let back = "UPDATE tenants SET plan = 'free', plan_mac = (SELECT plan_mac FROM kept) WHERE slug = 'acme'";
    host.database.execute(back).await;
    host.restart(options).await;
    let ada = sign_in(&host).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let found = verification(&ada).await;
    assert_eq!((&found["first_seq"], &found["intact"]), (&json!(1), &json!(true)), "{found:#}");
    assert!(host.log().contains("does not tell of the plan"));
    // An operator who says so has it so.
    host.operator().await.patch(&path, &json!({ "plan": "free" })).await.expect(200);
    let rows = ada.rows("/api/v1/audit-logs?filter[action]=tenant.plan_changed&sort=-created_at").await;
    assert_eq!((rows.len(), &rows[0]["changes"]["plan"]["after"]), (3, &json!("free")));
}
