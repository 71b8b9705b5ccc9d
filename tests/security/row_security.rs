//! The second wall: PostgreSQL's row-level security, with the first taken down by hand.

use purlin_domain::id::TenantId;
use purlin_store::{Db, migrate};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, raw_sql};

use crate::support::{Database, Host, Options, furnish, skipped};

/// Every table that holds rows of tenants, as the database itself has them.
async fn tables(conn: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND (c.relname = 'tenants' OR EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'))
         ORDER BY 1",
    )
    .fetch_all(conn)
    .await
    .unwrap()
}

async fn furnished() -> Option<(Host, [TenantId; 2])> {
    let Some(database) = Database::postgres().await else {
        skipped("PostgreSQL");
        return None;
    };
    let host = Host::start(database).await;
    host.upload(&["inventory"]).await;
    let mut ids = Vec::new();
    for slug in ["acme", "bolts"] {
        let client = furnish(&host, slug).await;
        ids.push(TenantId(client.me["tenant"]["id"].as_str().unwrap().parse().unwrap()));
    }
    Some((host, [ids[0], ids[1]]))
}

/// The whole matrix over one table: {read, insert, change, move, delete} × {own, other,
/// unset}; what leaked.
async fn leaks(conn: &mut PgConnection, table: &str, own: TenantId, other: TenantId) -> Vec<String> {
    let column = if table == "tenants" { "id" } else { "tenant_id" };
    let mut found = Vec::new();
    let set = |value: String| raw_sql(AssertSqlSafe(format!("SET purlin.tenant_id = '{value}'")));
    for (who, value) in [("another's", own.to_string()), ("no", String::new())] {
        conn.execute(set(value)).await.unwrap();
        if count(conn, &format!("SELECT count(*) FROM {table} WHERE {column} = '{other}'")).await != 0 {
            found.push(format!("{table}: read with {who} tenant"));
        }
        for verb in ["UPDATE", "DELETE", "INSERT"] {
            let sql = match verb {
                "UPDATE" => format!("UPDATE {table} SET {column} = {column} WHERE {column} = '{other}'"),
                "DELETE" => format!("DELETE FROM {table} WHERE {column} = '{other}'"),
                _ => format!("INSERT INTO {table} SELECT * FROM leaked_{table}"),
            };
            conn.execute(raw_sql("BEGIN")).await.unwrap();
            // Refused outright, by a privilege that is missing or by the policy, is well.
            let touched = conn.execute(raw_sql(AssertSqlSafe(sql))).await;
            conn.execute(raw_sql("ROLLBACK")).await.unwrap();
            match touched {
                Ok(done) if done.rows_affected() > 0 => found.push(format!("{table}: {verb} with {who} tenant")),
                Err(error) if error.to_string().contains("duplicate key") => {
                    found.push(format!("{table}: {verb} with {who} tenant got as far as a key"));
                }
                _ => {}
            }
        }
    }
    found
}

/// Rows of this tenant where the serving role can read them, to try to insert.
async fn keep_rows(host: &Host, tables: &[String], tenant: TenantId) {
    for table in tables {
        let column = if table == "tenants" { "id" } else { "tenant_id" };
        host.database
            .execute(&format!(
                "CREATE TABLE leaked_{table} AS SELECT * FROM {table} WHERE {column} = '{tenant}' LIMIT 1;
                 GRANT SELECT ON leaked_{table} TO purlin_app"
            ))
            .await;
    }
}

#[tokio::test]
async fn every_table_and_verb_keeps_to_one_tenant_and_every_mutant_of_a_policy_is_caught() {
    let Some((host, [acme, bolts])) = furnished().await else { return };
    let mut conn = serving(&host).await;
    let mut owner = PgConnection::connect(host.database.url.as_ref().unwrap()).await.unwrap();
    let tables = tables(&mut owner).await;
    assert!(tables.len() >= 21, "{tables:?}");
    keep_rows(&host, &tables, bolts).await;
    for table in &tables {
        let column = if table == "tenants" { "id" } else { "tenant_id" };
        conn.execute(raw_sql(AssertSqlSafe(format!("SET purlin.tenant_id = '{acme}'")))).await.unwrap();
        let own = count(&mut conn, &format!("SELECT count(*) FROM {table} WHERE {column} = '{acme}'")).await;
        assert!(own > 0, "{table} has nothing of its own to show");
        assert_eq!(leaks(&mut conn, table, acme, bolts).await, Vec::<String>::new());
    }
    let policies: Vec<(String, String)> = sqlx::query_as(
        "SELECT tablename::text, policyname::text FROM pg_policies WHERE 'purlin_app' = ANY (roles) ORDER BY 1",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(policies.len(), tables.len(), "one policy a table");
    let (mut caught, mut harmless) = (0, 0);
    for (table, policy) in &policies {
        for mutant in ["USING (true) WITH CHECK (true)", "USING (true)", "WITH CHECK (true)"] {
            owner.execute(raw_sql("BEGIN")).await.unwrap();
            let saved: (String, String) =
                sqlx::query_as("SELECT qual, with_check FROM pg_policies WHERE tablename = $1 AND policyname = $2")
                    .bind(table)
                    .bind(policy)
                    .fetch_one(&mut owner)
                    .await
                    .unwrap();
            owner
                .execute(raw_sql(AssertSqlSafe(format!("ALTER POLICY {policy} ON {table} {mutant}; COMMIT"))))
                .await
                .unwrap();
            let found = leaks(&mut conn, table, acme, bolts).await;
            // Where the role may not insert at all, a check that lets everything in does no harm.
            let may_insert: bool = sqlx::query_scalar("SELECT has_table_privilege('purlin_app', $1, 'INSERT')")
                .bind(table)
                .fetch_one(&mut owner)
                .await
                .unwrap();
            if found.is_empty() && mutant == "WITH CHECK (true)" && !may_insert {
                harmless += 1;
            } else {
                assert!(!found.is_empty(), "{mutant} on {table} was not noticed");
                caught += 1;
            }
            let (using, check) = saved;
            owner
                .execute(raw_sql(AssertSqlSafe(format!(
                    "ALTER POLICY {policy} ON {table} USING ({using}) WITH CHECK ({check})"
                ))))
                .await
                .unwrap();
        }
    }
    crate::support::measured!(
        "{} tables × 4 verbs × 3 tenants: 0 leaks; {caught} of {} mutants of policies caught, {harmless} of a check on what the role may not insert",
        tables.len(),
        policies.len() * 3
    );
    for table in &tables {
        assert_eq!(leaks(&mut conn, table, acme, bolts).await, Vec::<String>::new(), "put back as it was");
    }
}

#[tokio::test]
async fn the_tenant_is_part_of_every_key_and_reference() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    migrate::up(&database.config()).await.unwrap();
    let mut owner = PgConnection::connect(database.url.as_ref().unwrap()).await.unwrap();
    let without: Vec<String> = sqlx::query_scalar(
        "SELECT c.conname::text FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
         WHERE t.relnamespace = current_schema()::regnamespace AND c.contype IN ('p', 'u', 'f') AND NOT t.relispartition
           AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'tenant_id')
           AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'tenant_id' AND a.attnum = ANY (c.conkey))
           -- What is the platform's own, the catalogue of permissions and of plugins, belongs to no tenant.
           AND c.confrelid NOT IN (SELECT oid FROM pg_class WHERE relname IN ('permissions', 'plugins', 'plugin_versions'))
         UNION ALL
         SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
         WHERE x.indisunique AND t.relnamespace = current_schema()::regnamespace AND NOT t.relispartition
           AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'tenant_id')
           AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'tenant_id' AND a.attnum = ANY (x.indkey))",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(without, Vec::<String>::new());
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
    let url = host.database.url.clone().unwrap();
    let list_timeout = std::time::Duration::from_secs(30);
    let config =
        purlin_store::Config::Postgres { url, migrate_url: None, connections: 1, list_timeout, allow_superuser: true };
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_role_that_passes_row_security_by_is_refused_unless_the_operator_allows_it() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    // The tests sign in as a superuser.
    let strict = crate::support::Options::default().set("PURLIN_ALLOW_SUPERUSER", "false");
    let output = crate::support::Host::command(&database, &strict, &["serve"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("bypasses row-level security"), "{told}");
    crate::support::Host::start(database).await.anonymous().get("/health").await.expect(200);
}
