//! Random histories, the same on both databases: after each step the engine is where the
//! model is.

use std::collections::BTreeMap;

use purlin_domain::{
    id::JobId,
    job::{NewJob, Queue},
};
use purlin_store::{
    StoreError,
    jobs::{self, Fence, Lease, Outcome},
};
use purlin_test_macros::db_test;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::{
    model::{Model, ModelJob},
    support::{Engine, LONG, SHORT, done},
};
use crate::support::{Database, figure, measured};

/// One step of a history; whatever is random about it comes from the seed alone.
async fn step(engine: &mut Engine, model: &mut Model, random: &mut StdRng, next_id: &mut u128) {
    let some_id = |model: &Model, random: &mut StdRng| {
        let ids: Vec<u128> = model.jobs.keys().copied().collect();
        if ids.is_empty() { 0 } else { ids[random.random_range(0..ids.len())] }
    };
    let now = engine.now;
    match random.random_range(0..100) {
        0..35 => {
            *next_id += 1;
            let delay = if random.random_bool(0.3) { random.random_range(1..20) } else { 0 };
            let lane = random.random_bool(0.5).then(|| format!("core/{}", random.random_range(0..3)));
            let new = NewJob {
                run_at: now + chrono::TimeDelta::seconds(delay),
                unique_key: random.random_bool(0.3).then(|| random.random_range(0..6).to_string()),
                queue: Queue::ALL[random.random_range(0..3)],
                priority: random.random_range(0..10),
                blocks_lane: lane.is_some() && random.random_bool(0.5),
                ordering_key: lane,
                ..engine.job(*next_id)
            };
            let job = ModelJob {
                queue: new.queue,
                priority: new.priority,
                run_at: new.run_at,
                state: "",
                attempt: 0,
                crashes: 0,
                run_lease: 0,
                unique: new.unique_key.clone(),
                lane: new.ordering_key.clone(),
                blocks: new.blocks_lane,
                seq: 0,
                is_lapsing: false,
                is_suspect: false,
                crashes_alone: 0,
            };
            let taken_in = match engine.enqueue(engine.tenant, &[new]).await {
                Ok(()) => true,
                Err(StoreError::Taken(_)) => false,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(taken_in, model.enqueue(*next_id, job, now), "enqueue {next_id}");
        }
        35..55 => {
            let (queue, count) = (Queue::ALL[random.random_range(0..3)], random.random_range(1..4u32));
            let is_lapsing = random.random_bool(0.3);
            let length = if is_lapsing { SHORT } else { LONG };
            let claimed: Vec<u128> =
                engine.claim(1, length, queue, count).await.iter().map(|job| job.id.0.as_u128()).collect();
            assert_eq!(claimed, model.claim(queue, count as usize, is_lapsing), "claim");
            let suspect = engine.claim_suspect(1, length).await.map(|job| job.id.0.as_u128());
            assert_eq!(suspect, model.claim_suspect(is_lapsing, now), "claim a suspect");
        }
        55..75 => {
            let id = some_id(model, random);
            let Some(job) = model.jobs.get(&id).cloned() else { return };
            // Now and then a claim that was lost since.
            let run_lease = job.run_lease - i64::from(random.random_bool(0.2));
            let fence = job_fence(id, run_lease);
            let run_at = now + chrono::TimeDelta::seconds(random.random_range(0..10));
            let (outcome, to) = match random.random_range(0..5) {
                0 => (Outcome::Retry { run_at, error: "again".to_owned() }, "retry"),
                1 => (Outcome::Released { run_at }, "release"),
                2 => (Outcome::Dead { error: "gone".to_owned() }, "dead"),
                3 => (Outcome::Cancelled, "cancelled"),
                _ => (done(), "succeeded"),
            };
            let held = engine.finish(fence, job.lane.as_deref(), &outcome).await;
            assert_eq!(held, model.finish(id, run_lease, to, run_at, now), "finish {id} as {to}");
        }
        75..80 => {
            let id = some_id(model, random);
            let mut tx = engine.db.write(engine.tenant).await.unwrap();
            let cancelled = jobs::cancel(&mut tx, JobId(Uuid::from_u128(id)), None, now).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(cancelled, model.cancel(id, now), "cancel {id}");
        }
        80..88 => {
            let id = some_id(model, random);
            let mut tx = engine.db.write(engine.tenant).await.unwrap();
            let retried = jobs::retry(&mut tx, JobId(Uuid::from_u128(id)), now).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(retried, model.retry(id, now), "retry {id}");
        }
        88..91 => {
            let id = some_id(model, random);
            let mut tx = engine.db.write(engine.tenant).await.unwrap();
            let discarded = jobs::discard(&mut tx, JobId(Uuid::from_u128(id)), now).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(discarded, model.discard(id, now), "discard {id}");
        }
        91..95 => {
            engine.now += chrono::TimeDelta::seconds(random.random_range(1..8));
            engine.promote().await;
            model.promote(engine.now);
        }
        _ => assert_eq!(engine.rescue(2).await, model.rescue(now), "rescue"),
    }
}

/// Everything the engine knows, as the model would say it.
async fn dump(engine: &Engine) -> BTreeMap<u128, (String, i64, i64, i64)> {
    const SQL: &str = "SELECT id, state, attempt, crashes, run_lease FROM jobs UNION ALL
        SELECT id, state, attempt, crashes, run_lease FROM job_history";
    macro_rules! read {
        ($rows:expr) => {
            $rows
                .into_iter()
                .map(|row| (row.get::<Uuid, _>(0).as_u128(), (row.get(1), row.get(2), row.get(3), row.get(4))))
                .collect()
        };
    }
    match &engine.db {
        purlin_store::Db::Postgres { pool, .. } => {
            let sql = format!("SET purlin.tenant_id = '{}'", engine.tenant);
            let mut conn = pool.acquire().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await.unwrap();
            read!(sqlx::query(SQL).fetch_all(&mut *conn).await.unwrap())
        }
        purlin_store::Db::Sqlite { readers, .. } => read!(sqlx::query(SQL).fetch_all(readers).await.unwrap()),
    }
}

#[db_test]
async fn random_histories_end_where_the_model_says(database: Database) {
    let (histories, steps) = (figure(3, 40), figure(150, 400));
    let mut engine = Engine::over(database).await;
    let mut checked = 0;
    for history in 0..histories {
        // Each history has a tenant, and ids, of its own, and no leases and suspects of others
        // beside it.
        engine.database.execute("DELETE FROM jobs").await;
        engine.tenant = engine.add_tenant(1_000 + history as u128).await;
        let mut random = StdRng::seed_from_u64(history as u64);
        let (mut model, mut next_id) = (Model::default(), (history as u128 + 1) * 1_000_000);
        for _ in 0..steps {
            step(&mut engine, &mut model, &mut random, &mut next_id).await;
            for lane in 0..3 {
                let lane = format!("core/{lane}");
                let waits = model.jobs.values().any(|j| j.state == "waiting" && j.lane.as_deref() == Some(&lane));
                assert!(model.heads(&lane) <= 1 && (!waits || model.heads(&lane) == 1), "a lane has one head: {lane}");
            }
        }
        let expected: BTreeMap<u128, (String, i64, i64, i64)> = model
            .jobs
            .iter()
            .map(|(id, job)| (*id, (job.state.to_owned(), job.attempt, job.crashes, job.run_lease)))
            .collect();
        let found: BTreeMap<_, _> =
            dump(&engine).await.into_iter().filter(|(id, _)| *id > (history as u128 + 1) * 1_000_000).collect();
        assert_eq!(found, expected, "history {history}");
        checked += steps;
    }
    measured!("{checked} steps of {histories} random histories, each as the model says");
}

fn job_fence(id: u128, run_lease: i64) -> Fence {
    Fence { job: JobId(Uuid::from_u128(id)), run_lease, worker: Uuid::from_u128(1) }
}

#[db_test]
async fn the_end_of_many_runs_is_written_at_once_and_only_where_the_claim_holds(database: Database) {
    let engine = Engine::over(database).await;
    let new: Vec<NewJob> = (1..=50).map(|n| engine.job(n)).collect();
    engine.enqueue(engine.tenant, &new).await.unwrap();
    let claimed = engine.claim(1, LONG, Queue::Default, 50).await;
    assert_eq!(claimed.len(), 50);
    let lost = claimed[7].fence();
    assert!(engine.finish(lost, None, &Outcome::Retry { run_at: engine.now, error: "x".to_owned() }).await);
    // The worker is heard of meanwhile, which moves the rows of some.
    let lease = Lease { worker: Uuid::from_u128(1), length: LONG };
    let some: Vec<_> = claimed[20..30].iter().map(|c| (c.tenant_id, c.fence())).collect();
    let mut tx = engine.db.engine().await.unwrap();
    jobs::beat(&mut tx, lease, &some, engine.now).await.unwrap();
    tx.commit().await.unwrap();
    let returned = json!({ "n": 1 });
    let done: Vec<jobs::Done<'_>> = claimed
        .iter()
        .map(|c| jobs::Done {
            tenant: c.tenant_id,
            fence: c.fence(),
            place: &c.place,
            result: (c.id.0.as_u128() % 2 == 0).then_some(&returned),
        })
        .collect();
    let mut tx = engine.db.engine().await.unwrap();
    let held = jobs::finish_many(&mut tx, lease.worker, &done, engine.now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(held.len(), 49);
    assert!(!held.contains(&lost.job));
    for (n, result) in [(2, Some(json!({ "n": 1 }))), (3, None)] {
        let mut tx = engine.db.read(engine.tenant).await.unwrap();
        let job = jobs::by_id(&mut tx, JobId(Uuid::from_u128(n))).await.unwrap().unwrap();
        assert_eq!((job.result, job.state.as_str()), (result, "succeeded"));
    }
}
