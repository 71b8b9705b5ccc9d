//! What only PostgreSQL has: roles and row-level security, partitions, row locks.

use std::{net::IpAddr, time::Duration};

use purlin_domain::{Json, Timestamp, id::TenantId};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, Pool, Postgres, Row, SqlStr, Transaction,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgSslMode},
    query_as_with, query_with, raw_sql,
};

use tokio::time::timeout;

use crate::{Entity, PlatformTx, Result, StoreError, TenantTx, nodelay, value::params};

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was not used for this long is asked whether it still is one.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// How every connection serves. A host that froze with a lock in its hands, or a statement
/// that runs away, holds others up for seconds, not for hours.
const SERVE: &str =
    "SET ROLE purlin_app; SET TIME ZONE 'UTC'; SET client_min_messages = error; SET lock_timeout = '5s';
    SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '15s'; SET jit = off";
/// How they rest, and write. What is written is found by keys, in the order of an index; to plan
/// that anew for every row would take longer than to do it, and a plan that was made while a table
/// was small must serve when it is not.
const WRITE: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_sort = off;
    SET statement_timeout = '30s'";
/// How they read: with the plan that is best for what is asked, by the statistics, and not for long.
pub(crate) fn read(list_timeout: Duration) -> String {
    let ms = list_timeout.as_millis();
    format!("RESET plan_cache_mode; RESET enable_seqscan; RESET enable_sort; SET statement_timeout = {ms}")
}
/// How those of the engine of jobs do: across tenants, and with the plan of every statement
/// settled, along the indexes, whatever the statistics say. A burst on a table that was
/// never analysed, or while it was empty, must not be claimed by sorting all of it.
const ENGINE: &str =
    "SET ROLE purlin_platform; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET enable_material = off; SET enable_sort = off; SET enable_incremental_sort = off;
    SET plan_cache_mode = force_generic_plan";
/// Forgets the tenant and that it was read, and tells whether there was no transaction: outside of
/// one the two times are those of the same statement. To roll back for nothing leaves a warning in
/// the log of the server each time.
const FORGET: &str = "SELECT set_config('purlin.tenant_id', '', false) = '' AND now() = statement_timestamp()
    AND set_config('plan_cache_mode', 'force_generic_plan', false) <> ''
    AND set_config('enable_seqscan', 'off', false) <> '' AND set_config('enable_sort', 'off', false) <> ''
    AND set_config('statement_timeout', '30s', false) <> '', current_setting('transaction_read_only') = 'off'";
/// One to claim, one to acknowledge, one to beat and rescue, one to make ready.
const ENGINE_CONNECTIONS: u32 = 4;
const PARTITIONS_AHEAD: i64 = 3;
const WEEKS_AHEAD: i64 = 4;

/// Every connection serves as `purlin_app`; one that comes back is rolled back and
/// forgets its tenant, whatever happened on it.
pub(crate) async fn open(url: &str, connections: u32) -> Result<Pool<Postgres>> {
    let pool = pool(url, connections, &[SERVE, WRITE])?.after_release(|conn, _| {
        Box::pin(async move {
            let row = raw_sql(FORGET).fetch_one(&mut *conn).await;
            let is = |column: usize| row.as_ref().ok().and_then(|row| row.try_get::<bool, _>(column).ok());
            if is(1) == Some(false) {
                // The server was demoted to a standby; whoever comes next asks for the primary again.
                return Ok(false);
            }
            if is(0) != Some(true) {
                conn.execute(raw_sql("ROLLBACK; SET purlin.tenant_id = ''")).await?;
                conn.execute(raw_sql(WRITE)).await?;
            }
            Ok(true)
        })
    });
    Ok(pool.connect_with(options(url)?).await?)
}

/// A few connections beside them, so that the engine runs when requests took all the others.
pub(crate) fn open_engine(url: &str) -> Result<Pool<Postgres>> {
    Ok(pool(url, ENGINE_CONNECTIONS, &[SERVE, ENGINE])?.connect_lazy_with(options(url)?))
}

/// Where the server is. On the loopback interface nobody is there to read along; unless the
/// URL asks for TLS, both ends are spared it.
fn options(url: &str) -> Result<PgConnectOptions> {
    let options: PgConnectOptions = url.parse()?;
    let host = options.get_host();
    let is_loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let is_asked_for = !matches!(options.get_ssl_mode(), PgSslMode::Prefer);
    Ok(if is_loopback && !is_asked_for { options.ssl_mode(PgSslMode::Disable) } else { options })
}

fn pool(url: &str, connections: u32, serve: &'static [&'static str]) -> Result<PgPoolOptions> {
    let port = options(url)?.get_port();
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for > IDLE_MAX {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |conn, _| {
            Box::pin(async move {
                nodelay::set(port);
                for statements in serve {
                    conn.execute(raw_sql(*statements)).await?;
                }
                Ok(())
            })
        }))
}

// To wait for a connection takes 4 KiB of a future, which is on the heap: whoever uses the
// database would have room for it otherwise, and is moved a few times.

/// The first statement on a connection; on another one where that ended while nobody used
/// it, until all of them were tried.
macro_rules! on_live {
    ($pool:expr, $first:expr) => {{
        let mut others = $pool.options().get_max_connections();
        loop {
            match $first {
                Err(error) if others > 0 && has_ended(&error) => others -= 1,
                begun => break begun,
            }
        }
    }};
}

fn has_ended(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // The server shuts down, or somebody ended the session, or another one crashed.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02" | "25006")),
        _ => false,
    }
}

/// One round trip begins the transaction and names the tenant.
pub(crate) async fn begin_tenant(pool: &Pool<Postgres>, tenant: TenantId) -> Result<Transaction<'static, Postgres>> {
    let begin = format!("BEGIN; SET LOCAL purlin.tenant_id = '{}'", tenant.0);
    Ok(on_live!(pool, Box::pin(pool.begin_with(AssertSqlSafe(begin.clone()))).await)?)
}

/// A connection on which the tenant reads until it is released.
pub(crate) async fn checkout_tenant(
    pool: &Pool<Postgres>,
    read: &str,
    tenant: TenantId,
) -> Result<PoolConnection<Postgres>> {
    let name = format!("{read}; SET purlin.tenant_id = '{}'", tenant.0);
    Ok(on_live!(pool, {
        let mut conn = Box::pin(pool.acquire()).await?;
        conn.execute(raw_sql(AssertSqlSafe(name.clone()))).await.map(|_| conn)
    })?)
}

/// Has a select of the tenant `$1` name it for its own statement, before the first row.
pub(crate) const NAMES_TENANT: &str =
    " WHERE (SELECT set_config('purlin.tenant_id', CAST($1 AS text), true)) IS NOT NULL";

/// A transaction of one statement, which names its tenant by itself: one round trip. It is not
/// tried again on another connection: nobody knows whether it was committed on the first, and
/// a job of it may have been run and forgotten since.
pub(crate) async fn execute_alone(pool: &Pool<Postgres>, sql: SqlStr, arguments: PgArguments) -> Result<()> {
    let mut conn = Box::pin(pool.acquire()).await?;
    query_with(sql, arguments).execute(&mut *conn).await?;
    Ok(())
}

/// The same for one that returns rows.
pub(crate) async fn fetch_alone<T: Entity>(
    pool: &Pool<Postgres>,
    sql: SqlStr,
    arguments: PgArguments,
) -> Result<Vec<T>> {
    let mut conn = Box::pin(pool.acquire()).await?;
    Ok(query_as_with(sql, arguments).fetch_all(&mut *conn).await?)
}

pub(crate) async fn begin_platform(pool: &Pool<Postgres>) -> Result<Transaction<'static, Postgres>> {
    let begin = "BEGIN; SET LOCAL ROLE purlin_platform; SET LOCAL plan_cache_mode TO DEFAULT;
        SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_sort TO DEFAULT";
    Ok(on_live!(pool, Box::pin(pool.begin_with(begin)).await)?)
}

/// A connection of the engine of jobs; every statement on it is a transaction by itself.
pub(crate) async fn checkout_engine(pool: &Pool<Postgres>) -> Result<PoolConnection<Postgres>> {
    Ok(Box::pin(pool.acquire()).await?)
}

/// Hold lanes of a tenant until the transaction ends: alone, to finish the head of one, or
/// with others who add to them. The embedded database has one writer, which holds everything.
pub(crate) async fn hold_lanes(tx: &mut TenantTx, keys: &[&str], alone: bool) -> Result<()> {
    if !tx.conn.is_postgres() {
        return Ok(());
    }
    let sql = if alone {
        "SELECT pg_advisory_xact_lock(hashtextextended(tenant_id || ' ' || key, 0)) FROM (
            SELECT CAST($1 AS text) AS tenant_id, value AS key FROM jsonb_array_elements_text($2) ORDER BY value) lanes"
    } else {
        "SELECT pg_advisory_xact_lock_shared(hashtextextended(tenant_id || ' ' || key, 0)) FROM (
            SELECT CAST($1 AS text) AS tenant_id, value AS key FROM jsonb_array_elements_text($2) ORDER BY value) lanes"
    };
    tx.execute(sql, params![Json::from(keys)]).await?;
    Ok(())
}

pub(crate) async fn make_partitions(mut tx: PlatformTx, now: Timestamp) -> Result<()> {
    tx.execute("SELECT purlin_create_partitions(CAST($1 AS date), CAST($2 AS int))", params![now, PARTITIONS_AHEAD])
        .await?;
    tx.execute("SELECT purlin_create_job_partitions(CAST($1 AS date), CAST($2 AS int))", params![now, WEEKS_AHEAD])
        .await?;
    tx.commit().await
}

pub(crate) async fn drop_job_partitions(mut tx: PlatformTx, cutoff: Timestamp) -> Result<()> {
    tx.execute("SELECT purlin_drop_job_partitions(CAST($1 AS date))", params![cutoff]).await?;
    tx.commit().await
}

pub(crate) async fn drop_audit_partitions(mut tx: PlatformTx, now: Timestamp) -> Result<()> {
    let kept_from = now - Duration::from_secs(31 * 24 * 60 * 60);
    tx.execute("SELECT purlin_drop_audit_partitions(CAST($1 AS date))", params![kept_from]).await?;
    tx.commit().await
}

/// Refuse a pooler that gives each transaction another session: a session's role and tenant would hold
/// for whoever comes next.
pub(crate) async fn check_sessions(url: &str) -> Result<()> {
    timeout(SESSIONS_TIMEOUT, compare_sessions(url)).await.unwrap_or_else(|_| {
        let why = "the database gives no second session within ten seconds; a host needs several".to_owned();
        Err(StoreError::Setup(why))
    })
}

/// How long it takes to open two sessions at most.
const SESSIONS_TIMEOUT: Duration = Duration::from_secs(10);

async fn compare_sessions(url: &str) -> Result<()> {
    let options = options(url)?;
    let (mut own, mut other) =
        (PgConnection::connect_with(&options).await?, PgConnection::connect_with(&options).await?);
    let pid = "SELECT pg_backend_pid()";
    let before: (i32,) = sqlx::query_as(pid).fetch_one(&mut own).await?;
    // A pooler gives the session that has just come back to whoever asks next.
    let mut held = other.begin().await?;
    let _: (i32,) = sqlx::query_as(pid).fetch_one(&mut *held).await?;
    let after: (i32,) = sqlx::query_as(pid).fetch_one(&mut own).await?;
    held.rollback().await?;
    own.close().await?;
    other.close().await?;
    if before == after {
        return Ok(());
    }
    Err(StoreError::Setup(
        "the database is behind a pooler that shares sessions between transactions, so row-level security would not hold; \
         connect directly, or have it pool by session"
            .to_owned(),
    ))
}

/// Refuse to serve when row-level security would not hold: the second wall must stand.
pub(crate) async fn check_isolation(pool: &Pool<Postgres>, allow_superuser: bool) -> Result<()> {
    let mut conn = pool.acquire().await?;
    let roles: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT rolname::text, rolsuper OR rolbypassrls, rolname = current_user FROM pg_roles
         WHERE rolname IN (current_user, session_user)",
    )
    .fetch_all(&mut *conn)
    .await?;
    // A session can always go back to the role that it signed in as.
    let bypassing = roles.into_iter().find(|(_, bypasses, serves)| *bypasses && (*serves || !allow_superuser));
    if let Some((role, ..)) = bypassing {
        return Err(StoreError::Setup(format!(
            "the database role `{role}` bypasses row-level security; sign in as a role that is neither superuser nor \
             BYPASSRLS, or, in development alone, set `allow_superuser`"
        )));
    }
    let problems: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname::text, concat_ws(', ',
            CASE WHEN NOT (c.relrowsecurity AND c.relforcerowsecurity) THEN 'row-level security is not forced' END,
            CASE WHEN pg_has_role(current_user, c.relowner, 'USAGE') THEN 'the serving role owns it' END,
            CASE WHEN NOT c.relispartition AND NOT EXISTS (
                SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polqual IS NOT NULL AND p.polwithcheck IS NOT NULL
            ) THEN 'it has no policy with USING and WITH CHECK' END)
         FROM pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
           AND (c.relname = 'tenants' OR EXISTS (
                SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))",
    )
    .fetch_all(&mut *conn)
    .await?;
    if problems.is_empty() {
        return Err(StoreError::Setup("the database has no tables of ours; run `purlin migrate up`".to_owned()));
    }
    let broken: Vec<String> =
        problems.into_iter().filter(|(_, why)| !why.is_empty()).map(|(table, why)| format!("{table}: {why}")).collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(StoreError::Setup(format!("row-level security does not hold: {}", broken.join("; "))))
    }
}
