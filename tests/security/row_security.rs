//! The second wall: PostgreSQL's row-level security, with the first taken down by hand.

use purlin_domain::id::TenantId;
use purlin_store::{Db, migrate};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, raw_sql};

use crate::support::{Database, Host, Options, skipped};

/// Every table that holds rows of tenants.
const TABLES: [&str; 12] = [
    "tenants",
    "users",
    "roles",
    "role_permissions",
    "user_roles",
    "audit_log",
    "events",
    "installations",
    "jobs",
    "records",
    "record_keys",
    "plugin_logs",
];

async fn furnished() -> Option<(Host, [TenantId; 2])> {
    let Some(database) = Database::postgres().await else {
        skipped("PostgreSQL");
        return None;
    };
    let host = Host::start(database).await;
    host.upload(&["inventory"]).await;
    let mut ids = Vec::new();
    for slug in ["acme", "bolts"] {
        let client = host.tenant(slug).await;
        client.enable("inventory").await;
        let item = client
            .create("inventory/items", json!({ "sku": "A-1", "name": slug, "stock": 20, "reorder_point": 10 }))
            .await;
        client.create("inventory/movements", json!({ "item_id": item, "quantity": -15 })).await;
        client.settle().await;
        ids.push(TenantId(client.me["tenant"]["id"].as_str().unwrap().parse().unwrap()));
    }
    Some((host, [ids[0], ids[1]]))
}

/// A connection that serves as the host does.
async fn serving(host: &Host) -> PgConnection {
    let mut conn = PgConnection::connect(host.database.url.as_ref().unwrap()).await.unwrap();
    conn.execute(raw_sql("SET ROLE purlin_app")).await.unwrap();
    conn
}

async fn count(conn: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.unwrap()
}

#[tokio::test]
async fn without_the_tenant_predicate_a_query_still_shows_one_tenant() {
    let Some((host, [acme, bolts])) = furnished().await else { return };
    let mut conn = serving(&host).await;
    for table in TABLES {
        let column = if table == "tenants" { "id" } else { "tenant_id" };
        conn.execute(raw_sql(AssertSqlSafe(format!("SET purlin.tenant_id = '{acme}'")))).await.unwrap();
        assert!(count(&mut conn, &format!("SELECT count(*) FROM {table}")).await > 0, "{table} shows its own rows");
        assert_eq!(
            count(&mut conn, &format!("SELECT count(*) FROM {table} WHERE {column} <> '{acme}'")).await,
            0,
            "{table}"
        );
        assert_eq!(
            count(&mut conn, &format!("SELECT count(*) FROM {table} WHERE {column} = '{bolts}'")).await,
            0,
            "{table}"
        );
        conn.execute(raw_sql("SET purlin.tenant_id = ''")).await.unwrap();
        assert_eq!(count(&mut conn, &format!("SELECT count(*) FROM {table}")).await, 0, "{table} without a tenant");
        conn.execute(raw_sql("RESET purlin.tenant_id")).await.unwrap();
        assert_eq!(
            count(&mut conn, &format!("SELECT count(*) FROM {table}")).await,
            0,
            "{table} with the tenant never set"
        );
    }
}

#[tokio::test]
async fn without_the_tenant_predicate_a_write_still_touches_one_tenant() {
    let Some((host, [acme, bolts])) = furnished().await else { return };
    let mut conn = serving(&host).await;
    conn.execute(raw_sql(AssertSqlSafe(format!("SET purlin.tenant_id = '{acme}'")))).await.unwrap();
    let foreign = format!(
        "INSERT INTO plugin_logs (tenant_id, id, plugin, level, message, fields, created_at)
        VALUES ('{bolts}', gen_random_uuid(), 'x', 'info', 'forged', '{{}}', now())"
    );
    let refused = conn.execute(raw_sql(AssertSqlSafe(foreign.clone()))).await.unwrap_err().to_string();
    assert!(refused.contains("row-level security"), "{refused}");
    conn.execute(raw_sql(AssertSqlSafe(foreign.replace(&bolts.to_string(), &acme.to_string())))).await.unwrap();
    let moved = format!("UPDATE records SET tenant_id = '{bolts}'");
    assert!(conn.execute(raw_sql(AssertSqlSafe(moved))).await.is_err(), "a row cannot be moved to another tenant");
    conn.execute(raw_sql("UPDATE users SET last_name = 'touched'; DELETE FROM records")).await.unwrap();
    conn.execute(raw_sql(AssertSqlSafe(format!("SET purlin.tenant_id = '{bolts}'")))).await.unwrap();
    assert_eq!(count(&mut conn, "SELECT count(*) FROM users WHERE last_name = 'touched'").await, 0);
    assert!(count(&mut conn, "SELECT count(*) FROM records").await > 0);
}

#[tokio::test]
async fn partitions_are_closed_but_through_their_parent() {
    let Some((host, [acme, _])) = furnished().await else { return };
    let mut conn = serving(&host).await;
    conn.execute(raw_sql(AssertSqlSafe(format!("SET purlin.tenant_id = '{acme}'")))).await.unwrap();
    let partitions: Vec<String> =
        sqlx::query_scalar("SELECT relname::text FROM pg_class WHERE relispartition AND relkind = 'r'")
            .fetch_all(&mut conn)
            .await
            .unwrap();
    assert!(partitions.len() >= 8, "this month and three ahead, of two tables: {partitions:?}");
    for partition in partitions {
        assert!(
            conn.execute(raw_sql(AssertSqlSafe(format!("SELECT * FROM {partition}")))).await.is_err(),
            "{partition} is open"
        );
    }
}

#[tokio::test]
async fn the_host_refuses_to_start_when_row_security_does_not_hold() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    migrate::up(&database.config()).await.unwrap();
    let mut owner = PgConnection::connect(database.url.as_ref().unwrap()).await.unwrap();
    for (break_it, mend_it, word) in [
        (
            "ALTER TABLE records NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE records FORCE ROW LEVEL SECURITY",
            "records: row-level security is not forced",
        ),
        (
            "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE jobs ENABLE ROW LEVEL SECURITY",
            "jobs: row-level security is not forced",
        ),
        ("CREATE TABLE extra (tenant_id uuid)", "DROP TABLE extra", "extra: row-level security is not forced"),
        (
            "CREATE TABLE mine (tenant_id uuid); ALTER TABLE mine ENABLE ROW LEVEL SECURITY; ALTER TABLE mine FORCE ROW LEVEL SECURITY; ALTER TABLE mine OWNER TO purlin_app",
            "DROP TABLE mine",
            "mine: the serving role owns it",
        ),
    ] {
        owner.execute(raw_sql(break_it)).await.unwrap();
        let refused = Db::open(&database.config()).await.unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
        let output = Host::command(&database, &Options::default(), &["serve"]).output().unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(word), "{told}");
        owner.execute(raw_sql(mend_it)).await.unwrap();
    }
    Db::open(&database.config()).await.unwrap().close().await;
}

/// A connection that comes back to the pool in the middle of something is clean when it
/// goes out again.
#[tokio::test]
async fn a_connection_that_was_dropped_half_way_serves_the_next_tenant_clean() {
    let Some((host, [acme, bolts])) = furnished().await else { return };
    let config =
        purlin_store::Config::Postgres { url: host.database.url.clone().unwrap(), migrate_url: None, connections: 1 };
    let db = Db::open(&config).await.unwrap();
    for round in 0..200 {
        let tenant = if round % 2 == 0 { acme } else { bolts };
        let half_way = async {
            let mut tx = db.write(tenant).await.unwrap();
            tx.execute("UPDATE users SET last_name = 'half-way' WHERE tenant_id = $1", Vec::new()).await.unwrap();
            std::future::pending::<()>().await;
        };
        drop(tokio::time::timeout(std::time::Duration::from_micros(round * 20), half_way).await);
        let other = if round % 2 == 0 { bolts } else { acme };
        let mut tx = db.read(other).await.unwrap();
        let seen: Vec<(uuid::Uuid, Option<String>)> = tx
            .fetch_all("SELECT tenant_id, last_name FROM users WHERE tenant_id = tenant_id AND $1 = $1", Vec::new())
            .await
            .unwrap();
        assert_eq!(seen, [(other.0, None)], "round {round}");
    }
    db.close().await;
}
