//! Lanes: jobs with one ordering key, one after the other.

use purlin_domain::job::{NewJob, Queue};
use purlin_store::jobs::{self, Outcome};
use purlin_test_macros::db_test;

use super::support::{Engine, LONG, done};
use crate::support::Database;

fn in_lane(engine: &Engine, n: u128, key: &str, blocks_lane: bool) -> NewJob {
    NewJob { ordering_key: Some(key.to_owned()), blocks_lane, ..engine.job(n) }
}

#[db_test]
async fn jobs_of_one_key_run_one_after_the_other_and_other_keys_beside_them(database: Database) {
    let engine = Engine::over(database).await;
    let new = [
        in_lane(&engine, 1, "core/a", false),
        in_lane(&engine, 2, "core/a", false),
        in_lane(&engine, 3, "core/b", false),
        in_lane(&engine, 4, "core/a", false),
    ];
    engine.enqueue(engine.tenant, &new).await.unwrap();
    let mut order = Vec::new();
    for expected in [vec![1u128, 3], vec![2], vec![4], vec![]] {
        let claimed = engine.claim(1, LONG, Queue::Default, 10).await;
        let ids: Vec<u128> = claimed.iter().map(|job| job.id.0.as_u128()).collect();
        assert_eq!(ids, expected);
        for job in claimed {
            order.push(job.id.0.as_u128());
            assert!(engine.finish(job.fence(), job.ordering_key.as_deref(), &done()).await);
        }
    }
    assert_eq!(order, [1, 3, 2, 4]);
}

#[db_test]
async fn a_failed_job_keeps_its_place_until_it_is_done(database: Database) {
    let mut engine = Engine::over(database).await;
    let new = [in_lane(&engine, 1, "core/a", false), in_lane(&engine, 2, "core/a", false)];
    engine.enqueue(engine.tenant, &new).await.unwrap();
    let first = engine.claim(1, LONG, Queue::Default, 10).await.remove(0);
    let run_at = engine.now + chrono::TimeDelta::seconds(5);
    engine.finish(first.fence(), Some("core/a"), &Outcome::Retry { run_at, error: "later".to_owned() }).await;
    assert!(engine.claim(1, LONG, Queue::Default, 10).await.is_empty(), "the second waits for the first");
    engine.now = run_at;
    assert_eq!(engine.promote().await, 1);
    assert_eq!(engine.claim(1, LONG, Queue::Default, 10).await[0].id, first.id);
}

#[db_test]
async fn behind_a_dead_letter_the_lane_goes_on_or_waits_as_it_was_told(database: Database) {
    let engine = Engine::over(database).await;
    for (key, base, blocks) in [("core/goes-on", 10, false), ("core/waits", 20, true)] {
        let new = [in_lane(&engine, base, key, blocks), in_lane(&engine, base + 1, key, blocks)];
        engine.enqueue(engine.tenant, &new).await.unwrap();
    }
    for job in engine.claim(1, LONG, Queue::Default, 10).await {
        engine.finish(job.fence(), job.ordering_key.as_deref(), &Outcome::Dead { error: "x".to_owned() }).await;
    }
    let claimed = engine.claim(1, LONG, Queue::Default, 10).await;
    assert_eq!(claimed.iter().map(|job| job.id.0.as_u128()).collect::<Vec<_>>(), [11]);
    let mut tx = engine.db.write(engine.tenant).await.unwrap();
    assert!(jobs::discard(&mut tx, purlin_domain::id::JobId(uuid::Uuid::from_u128(20)), engine.now).await.unwrap());
    tx.commit().await.unwrap();
    let claimed = engine.claim(1, LONG, Queue::Default, 10).await;
    assert_eq!(claimed.iter().map(|job| job.id.0.as_u128()).collect::<Vec<_>>(), [21], "once it is discarded");
}

/// Many add to one lane while its head is finished again and again: nobody is stuck, and
/// nobody overtakes.
#[db_test]
async fn a_lane_that_many_add_to_while_it_moves_is_never_stuck(database: Database) {
    let engine = std::sync::Arc::new(Engine::over(database).await);
    let writers: Vec<_> = (0..4u128)
        .map(|writer| {
            let engine = std::sync::Arc::clone(&engine);
            tokio::spawn(async move {
                for n in 0..25u128 {
                    let job = in_lane(&engine, 1 + writer * 1_000 + n, "core/busy", false);
                    while engine.enqueue(engine.tenant, std::slice::from_ref(&job)).await.is_err() {}
                }
            })
        })
        .collect();
    let mut seen: Vec<u128> = Vec::new();
    let began = std::time::Instant::now();
    while seen.len() < 100 {
        assert!(began.elapsed().as_secs() < 60, "stuck after {}", seen.len());
        let claimed = engine.claim(1, LONG, Queue::Default, 10).await;
        assert!(claimed.len() <= 1, "one at a time");
        for job in claimed {
            seen.push(job.id.0.as_u128());
            assert!(engine.finish(job.fence(), Some("core/busy"), &done()).await);
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for writer in 0..4u128 {
        let own: Vec<u128> = seen.iter().copied().filter(|id| (id - 1) / 1_000 == writer).collect();
        assert!(own.is_sorted() && own.len() == 25, "{own:?}");
    }
}
