//! What PostgreSQL reads for the engine, whatever it was told of the tables.

use std::time::Duration;

use purlin_domain::{
    clock::{Clock, SystemClock},
    id::EventId,
    job::{NewJob, Queue},
};
use purlin_store::{
    Config, Db,
    jobs::{self, Lease},
};
use serde_json::json;
use uuid::Uuid;

use super::support::{Engine, LONG, done};
use crate::support::{Database, skipped};

impl Engine {
    /// What was read, by the statistics of the server: what a connection did is told of by the
    /// time it has ended.
    async fn read_in_all(&self, what: &str, indexes: &str) -> i64 {
        self.db.close().await;
        let of = |what: &str, indexes: &str| {
            format!("SELECT CAST(coalesce(sum({what}), 0) AS bigint) FROM pg_stat_user_indexes WHERE {indexes}")
        };
        while self.database.count(&of("idx_scan", "relname LIKE 'events%' OR relname LIKE '%job%'")).await == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.database.count(&of(what, indexes)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_found_by_their_primary_key_in_a_table_that_was_never_analysed() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let engine = Engine::over(database).await;
    // A connection keeps the plan it made of an empty table that nobody analyses.
    for _ in 0..20 {
        engine.bring(&[(engine.tenant, EventId(SystemClock.id()))]).await;
    }
    let wanted = engine.publish(engine.tenant, &[json!({}), json!({})]).await;
    assert!(engine.bring(&wanted).await.iter().all(Option::is_some));
    let others = "relname LIKE 'events%' AND indexrelname NOT LIKE '%_pkey'";
    assert_eq!(engine.read_in_all("idx_scan", others).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_on_a_table_that_was_analysed_while_it_was_empty_is_claimed_along_its_index() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let engine = Engine::over(database).await;
    // A table that had jobs and has none: the planner is told of no rows. It then weighs its
    // indexes by their height alone; that of what is ready has grown the tallest.
    let many = async |from: u128, lane: Option<&str>| {
        let new: Vec<NewJob> =
            (from..from + 2_000).map(|n| NewJob { ordering_key: lane.map(str::to_owned), ..engine.job(n) }).collect();
        engine.enqueue(engine.tenant, &new).await.unwrap();
    };
    let burst = format!(
        "INSERT INTO jobs (tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease,
            root_id, depth, created_at, updated_at)
         SELECT '{}', gen_random_uuid(), repeat('k', 300), 'core', '{{}}', 'ready', now(), 0, 3, 0, 0, gen_random_uuid(), 0, now(), now()
         FROM generate_series(1, 30000)",
        engine.tenant.0
    );
    // A vacuum of PostgreSQL's own would change how much is in the way, and when.
    let still = "ALTER TABLE jobs SET (autovacuum_enabled = off)";
    engine.database.execute(&format!("{still}; {burst}; DELETE FROM jobs; ANALYZE jobs")).await;
    many(10_000, None).await;
    many(20_000, Some("lane")).await;
    for _ in 0..10 {
        let mut tx = engine.db.engine().await.unwrap();
        let waiting = jobs::look(&mut tx, &Queue::ALL.map(|queue| (queue, None)), 100).await.unwrap().waiting;
        assert_eq!(waiting.len(), 1);
        drop(tx);
        for job in engine.claim(1, LONG, Queue::Default, 10).await {
            assert!(engine.finish(job.fence(), job.ordering_key.as_deref(), &done()).await);
        }
        engine.rescue(2).await;
        engine.promote().await;
    }
    // What is gone and each head of the lane once, and a few rows for each of the hundred that
    // were finished; not all that wait, each time that somebody looks.
    let read = engine.read_in_all("idx_tup_read", "relname = 'jobs'").await;
    assert!(read < 60_000, "{read} rows of indexes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_a_new_job_may_run_at_once_is_asked_once() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let engine = Engine::over(database).await;
    let lease = Lease { worker: Uuid::from_u128(1), length: LONG };
    let many: Vec<NewJob> = (100..120).map(|n| engine.job(n)).collect();
    assert_eq!(engine.enqueue_leased(&many, lease).await.len(), 20);
    for n in 0..20 {
        assert_eq!(engine.enqueue_leased(&[engine.job(n)], lease).await.len(), 1);
    }
    // A pause is of a queue or all, and of a kind or all: its index is entered four times.
    let entered = engine.read_in_all("idx_scan", "relname = 'platform_job_pauses'").await;
    assert_eq!(entered, 40 * 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_the_jobs_of_a_group_may_run_is_asked_once_for_all_that_are_claimed() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let engine = Engine::over(database).await;
    let many: Vec<NewJob> = (0..40).map(|n| engine.job(n)).collect();
    engine.enqueue(engine.tenant, &many).await.unwrap();
    for worker in 1..=2 {
        assert_eq!(engine.claim(worker, LONG, Queue::Default, 20).await.len(), 20);
    }
    let entered = engine.read_in_all("idx_scan", "relname = 'job_pauses'").await;
    assert_eq!(entered, 2 * 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_in_one_statement_is_planned_once_and_what_is_read_by_the_statistics() {
    let Some(database) = Database::postgres().await else { return skipped("PostgreSQL") };
    let mut engine = Engine::over(database).await;
    let mut config = engine.database.config();
    if let Config::Postgres { connections, .. } = &mut config {
        *connections = 1;
    }
    engine.db = Db::open(&config).await.unwrap();
    for n in 0..20 {
        engine.enqueue(engine.tenant, &[engine.job(n)]).await.unwrap();
    }
    let mut tx = engine.db.read(engine.tenant).await.unwrap();
    let (custom, generic, mode): (i64, i64, String) = tx
        .fetch_one(
            "SELECT CAST(sum(custom_plans) AS bigint), CAST(sum(generic_plans) AS bigint), current_setting('plan_cache_mode')
             FROM pg_prepared_statements, tenants WHERE tenants.id = $1 AND statement LIKE 'INSERT INTO jobs%'",
            vec![],
        )
        .await
        .unwrap();
    assert_eq!((custom, generic, mode.as_str()), (0, 20, "auto"));
}
