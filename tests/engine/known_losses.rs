//! Ways in which engines of jobs are known to have lost or doubled work. Here none does.

use std::{collections::BTreeMap, time::Duration};

use chrono::TimeDelta;
use purlin_domain::{
    event::{Cause, NewEvent},
    id::EventId,
    job::{NewJob, Queue},
    trace::Trace,
};
use purlin_store::{
    events,
    jobs::{self, Lease, Outcome},
    mutants,
};
use purlin_test_macros::db_test;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use uuid::Uuid;

use super::support::{Engine, LONG, SHORT, done};
use crate::support::{Database, figure, measured};

#[db_test]
async fn a_worker_that_comes_back_under_its_old_name_cannot_end_what_was_taken_from_it(database: Database) {
    let engine = Engine::over(database).await;
    engine.enqueue(engine.tenant, &[engine.job(1)]).await.unwrap();
    let before = engine.claim(1, SHORT, Queue::Default, 1).await.remove(0);
    assert_eq!(engine.rescue(2).await, 1);
    let after = engine.claim_suspect(1, LONG).await.unwrap();
    assert_eq!((before.id, before.attempt), (after.id, after.attempt), "a crash is no attempt");
    assert!(!engine.finish(before.fence(), None, &done()).await, "the old claim ends nothing");
    assert!(engine.finish(after.fence(), None, &done()).await);
}

#[db_test]
async fn a_job_is_taken_back_when_its_lease_ends_not_when_it_is_old(database: Database) {
    let mut engine = Engine::over(database).await;
    engine.enqueue(engine.tenant, &[engine.job(1), engine.job(2)]).await.unwrap();
    let claimed = engine.claim(1, LONG, Queue::Default, 1).await.remove(0);
    let lapsing = engine.claim(1, SHORT, Queue::Default, 1).await.remove(0);
    // Just before it would be taken back, the worker is heard of again.
    let mut tx = engine.db.engine().await.unwrap();
    let lease = Lease { worker: Uuid::from_u128(1), length: LONG };
    jobs::beat(&mut tx, lease, &[(engine.tenant, lapsing.fence())], engine.now).await.unwrap();
    tx.commit().await.unwrap();
    engine.now += TimeDelta::minutes(30);
    assert_eq!(engine.rescue(2).await, 0);
    assert!(engine.finish(claimed.fence(), None, &done()).await);
    assert!(engine.finish(lapsing.fence(), None, &done()).await);
}

#[db_test]
async fn a_claim_that_the_database_forgot_ends_nothing_although_its_number_is_given_again(database: Database) {
    let engine = Engine::over(database).await;
    engine.enqueue(engine.tenant, &[engine.job(1)]).await.unwrap();
    let forgotten = engine.claim(1, LONG, Queue::Default, 1).await.remove(0);
    // As after a crash: nobody waited for the claim to be on disk.
    let mut tx = engine.db.write(engine.tenant).await.unwrap();
    let before =
        "UPDATE jobs SET state = 'ready', run_lease = 0, worker = NULL, leased_until = NULL WHERE tenant_id = $1";
    assert_eq!(tx.execute(before, Vec::new()).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let again = engine.claim(2, LONG, Queue::Default, 1).await.remove(0);
    assert_eq!(forgotten.run_lease, again.run_lease);
    assert!(!engine.finish(forgotten.fence(), None, &done()).await);
    assert!(engine.finish(again.fence(), None, &done()).await);
}

#[db_test]
async fn a_claim_that_is_not_committed_takes_nothing_away(database: Database) {
    let engine = Engine::over(database).await;
    engine.enqueue(engine.tenant, &[engine.job(1)]).await.unwrap();
    let want = jobs::Want {
        queue: Queue::Default,
        tenant: engine.tenant,
        groups: vec![("core".to_owned(), "ping".to_owned())],
        count: 1,
    };
    let lease = Lease { worker: Uuid::from_u128(1), length: LONG };
    let mut tx = engine.db.platform().await.unwrap();
    assert_eq!(jobs::claim(&mut tx, lease, &[want], engine.now).await.unwrap().len(), 1);
    drop(tx);
    assert_eq!(engine.claim(2, LONG, Queue::Default, 1).await.len(), 1);
}

/// Let the job of this number take a worker down alone.
async fn crash_alone(engine: &mut Engine, worker: u128) {
    engine.now += chrono::TimeDelta::seconds(60);
    engine.claim_suspect(worker, SHORT).await.unwrap();
    assert_eq!(engine.take_back(9, &[]).await, 1);
}

#[db_test]
async fn a_job_that_kills_its_workers_alone_is_a_dead_letter_after_three_and_others_are_not_blamed(database: Database) {
    let mut engine = Engine::over(database).await;
    engine.enqueue(engine.tenant, &[engine.job(1), engine.job(2)]).await.unwrap();
    assert_eq!(engine.claim(1, SHORT, Queue::Default, 2).await.len(), 2);
    assert_eq!(engine.rescue(9).await, 2);
    for n in [1, 2] {
        assert_eq!(engine.state(n).await, Some(("scheduled".to_owned(), 0, 1)), "both are suspected");
    }
    assert_eq!(engine.claim(2, LONG, Queue::Default, 2).await.len(), 0, "suspects are not claimed with others");
    // The second does well, with the host to itself.
    engine.now += chrono::TimeDelta::seconds(1);
    let first = engine.claim_suspect(2, LONG).await.unwrap();
    let second = engine.claim_suspect(2, LONG).await.unwrap();
    assert!(engine.finish(second.fence(), None, &done()).await);
    assert!(engine.finish(first.fence(), None, &Outcome::Released { run_at: engine.now }).await);
    assert_eq!(engine.state(1).await, Some(("scheduled".to_owned(), 0, 1)), "it did not run to its end");
    for worker in 3..=5 {
        crash_alone(&mut engine, worker).await;
    }
    assert_eq!(engine.state(1).await, Some(("dead".to_owned(), 0, 4)), "no attempt was used");
    assert_eq!(engine.state(2).await.unwrap().0, "succeeded");
}

#[db_test]
async fn suspects_that_ran_together_when_their_worker_died_are_blamed_never(database: Database) {
    let mut engine = Engine::over(database).await;
    engine.enqueue(engine.tenant, &[engine.job(1), engine.job(2)]).await.unwrap();
    engine.claim(1, SHORT, Queue::Default, 2).await;
    for worker in 2..=9 {
        assert_eq!(engine.rescue(99).await, 2);
        engine.now += chrono::TimeDelta::seconds(1);
        assert!(
            engine.claim_suspect(worker, SHORT).await.is_some() && engine.claim_suspect(worker, SHORT).await.is_some()
        );
    }
    engine.rescue(99).await;
    for n in [1, 2] {
        assert_eq!(engine.state(n).await.unwrap().0, "scheduled");
    }
}

/// A rescue takes the head of a lane away, and opens the lane for those behind it; a host
/// that dies between the two leaves that to whoever rescues next.
#[db_test]
async fn a_lane_that_lost_its_head_is_opened_also_when_whoever_took_it_died(database: Database) {
    let mut engine = Engine::over(database).await;
    let in_lane = |n| NewJob { ordering_key: Some("lane".to_owned()), ..engine.job(n) };
    engine.enqueue(engine.tenant, &[in_lane(1), in_lane(2), in_lane(3)]).await.unwrap();
    assert_eq!(engine.open_lanes().await, 0, "its head is there");
    assert_eq!(engine.claim(1, SHORT, Queue::Default, 1).await.len(), 1);
    assert_eq!(engine.take_back(9, &[]).await, 1);
    for worker in 2..=4 {
        crash_alone(&mut engine, worker).await;
    }
    let state = async |n| engine.state(n).await.map(|(state, ..)| state);
    assert_eq!((state(1).await.as_deref(), state(2).await.as_deref()), (Some("dead"), Some("waiting")));
    assert_eq!(engine.rescue(9).await, 0, "nobody else died");
    assert_eq!((state(2).await.as_deref(), state(3).await.as_deref()), (Some("ready"), Some("waiting")));
    assert_eq!(engine.open_lanes().await, 0);
}

#[db_test]
async fn what_is_in_use_is_counted_from_the_leases_whatever_became_of_their_workers(database: Database) {
    let engine = Engine::over(database).await;
    let new: Vec<NewJob> = (1..=6).map(|n| engine.job(n)).collect();
    engine.enqueue(engine.tenant, &new).await.unwrap();
    let in_use = async || {
        let mut tx = engine.db.engine().await.unwrap();
        jobs::in_use(&mut tx).await.unwrap().iter().map(|row| row.leases).sum::<i64>()
    };
    engine.claim(1, SHORT, Queue::Default, 2).await;
    let claimed = engine.claim(1, LONG, Queue::Default, 2).await;
    assert_eq!(in_use().await, 4);
    engine.finish(claimed[0].fence(), None, &done()).await;
    engine.rescue(2).await;
    assert_eq!(in_use().await, 1);
    engine.finish(claimed[1].fence(), None, &Outcome::Released { run_at: engine.now }).await;
    assert_eq!(in_use().await, 0);
}

/// A worker knows which jobs it runs, whatever a clock says; and one that it lost track of,
/// as when the end of a run could not be written, is not lost with it.
#[db_test]
async fn a_worker_takes_back_of_its_own_jobs_only_those_it_does_not_hold(database: Database) {
    let engine = Engine::over(database).await;
    engine.enqueue(engine.tenant, &[engine.job(1)]).await.unwrap();
    let claimed = engine.claim(1, SHORT, Queue::Default, 1).await.remove(0);
    assert_eq!(engine.rescue_but(1, &[claimed.id]).await, 0);
    assert_eq!(engine.rescue_but(1, &[]).await, 1);
    assert_eq!(engine.state(1).await, Some(("ready".to_owned(), 0, 0)), "which is no crash");
    assert!(!engine.finish(claimed.fence(), None, &done()).await);
}

/// The leases of several hosts are measured by the clock of the database: one whose own
/// clock jumps takes nothing from others.
#[tokio::test]
async fn a_host_whose_clock_jumps_takes_no_job_from_others() {
    let Some(database) = Database::postgres().await else { return crate::support::skipped("PostgreSQL") };
    let mut engine = Engine::over(database).await;
    engine.enqueue(engine.tenant, &[engine.job(1)]).await.unwrap();
    let claimed = engine.claim(1, LONG, Queue::Default, 1).await.remove(0);
    for jump in [TimeDelta::days(3_650), TimeDelta::days(-3_650)] {
        engine.now += jump;
        assert_eq!(engine.rescue(2).await, 0);
    }
    assert!(engine.finish(claimed.fence(), None, &done()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_holds_keeps_no_other_from_being_taken_back() {
    let Some(database) = Database::postgres().await else { return crate::support::skipped("PostgreSQL") };
    let engine = Engine::over(database).await;
    let new: Vec<NewJob> = (1..=3).map(|n| engine.job(n)).collect();
    engine.enqueue(engine.tenant, &new).await.unwrap();
    let claimed = engine.claim(1, SHORT, Queue::Default, 3).await;
    let mut held = engine.db.write(engine.tenant).await.unwrap();
    assert!(jobs::tell_progress(&mut held, claimed[1].fence(), 1, None, engine.now).await.unwrap());
    assert_eq!(engine.rescue(2).await, 2, "the other two");
    held.commit().await.unwrap();
    assert_eq!(engine.rescue(2).await, 1);
}

/// Whoever reads on from a place gets every event once, also one whose transaction began
/// before and committed after another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_commit_is_not_skipped_by_who_reads_on() {
    let Some(database) = Database::postgres().await else { return crate::support::skipped("PostgreSQL") };
    let engine = Engine::over(database).await;
    let event = |n: u128| NewEvent {
        id: EventId(Uuid::from_u128(n)),
        source: "/core".to_owned(),
        event_type: "test.happened".to_owned(),
        subject: None,
        data: json!({ "n": u64::try_from(n).unwrap() }),
    };
    let cause = Cause::first(None, Uuid::from_u128(7), Trace::begin(Uuid::from_u128(7), Uuid::from_u128(8), false));
    let mut place = events::head(&mut engine.db.platform_read().await.unwrap()).await.unwrap();
    let mut seen = Vec::new();
    let mut read = async |place: &mut events::Place| {
        let mut tx = engine.db.read(engine.tenant).await.unwrap();
        for placed in events::read_on(&mut tx, *place, engine.now - TimeDelta::days(1), 100).await.unwrap() {
            *place = placed.place;
            seen.push(placed.event.id.0.as_u128());
        }
        seen.len()
    };
    let (first, second) = (event(1), event(2));
    let publish = |event| events::Publish { event, cause: &cause, by: None };
    let mut slow = engine.db.write(engine.tenant).await.unwrap();
    events::insert(&mut slow, &[publish(&first)], engine.now).await.unwrap();
    // Rows wait for the next statement; this one writes them.
    assert!(events::by_id(&mut slow, EventId(Uuid::nil())).await.unwrap().is_none());
    let mut quick = engine.db.write(engine.tenant).await.unwrap();
    events::insert(&mut quick, &[publish(&second)], engine.now).await.unwrap();
    quick.commit().await.unwrap();
    read(&mut place).await;
    slow.commit().await.unwrap();
    // Any transaction of the whole server holds readers up, also one of another test.
    while read(&mut place).await < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    read(&mut place).await;
    assert_eq!(seen, [1, 2]);
}

/// Workers that die, stall past their leases and come back, while jobs are enqueued or
/// rolled back: what the oracle finds wrong in the end.
async fn ledger(mut engine: Engine, jobs_count: usize, seed: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut committed = Vec::new();
    for n in 1..=jobs_count as u128 {
        let job = engine.job(n);
        if random.random_bool(0.1) {
            // Never committed: it must leave nothing.
            let cause =
                Cause::first(None, Uuid::from_u128(7), Trace::begin(Uuid::from_u128(7), Uuid::from_u128(8), false));
            let mut tx = engine.db.write(engine.tenant).await.unwrap();
            jobs::insert(&mut tx, &[jobs::Enqueue::core(&job, &cause)], engine.now).await.unwrap();
            drop(tx);
        } else {
            engine.enqueue(engine.tenant, &[job]).await.unwrap();
            committed.push(n);
        }
    }
    let mut effects: BTreeMap<u128, usize> = BTreeMap::new();
    // Runs whose worker stalls: they end after somebody else had their job.
    let mut stalled = Vec::new();
    for _ in 0..jobs_count * 4 {
        let worker = random.random_range(1..5);
        let is_stalling = random.random_bool(0.3);
        let length = if is_stalling { SHORT } else { LONG };
        // A suspect that was blamed rests for a while.
        engine.now += TimeDelta::seconds(6);
        let claimed = engine.claim(worker, length, Queue::Default, 3).await;
        for job in claimed.into_iter().chain(engine.claim_suspect(worker, length).await) {
            if is_stalling {
                stalled.push(job);
            } else if engine.finish(job.fence(), None, &done()).await {
                // The effect commits with the end of the run, or not at all.
                *effects.entry(job.id.0.as_u128()).or_default() += 1;
            }
        }
        engine.rescue(99).await;
        if random.random_bool(0.5)
            && let Some(job) = stalled.pop()
            && engine.finish(job.fence(), None, &done()).await
        {
            *effects.entry(job.id.0.as_u128()).or_default() += 1;
        }
    }
    let mut wrong = Vec::new();
    for n in 1..=jobs_count as u128 {
        let (state, count) = (engine.state(n).await, effects.get(&n).copied().unwrap_or(0));
        match (committed.contains(&n), state.as_ref().map(|s| s.0.as_str()), count) {
            (false, None, 0) | (true, Some("succeeded"), 1) | (true, Some("dead"), 0) => {}
            (is_committed, state, count) => {
                wrong.push(format!("job {n}, committed {is_committed}: {state:?} with {count} effects"));
            }
        }
    }
    wrong
}

#[db_test]
async fn every_committed_job_has_exactly_one_effect_and_a_job_rolled_back_none(database: Database) {
    let engine = Engine::over(database).await;
    let count = figure(40, 400);
    assert_eq!(ledger(engine, count, 1).await, Vec::<String>::new());
    measured!("{count} jobs over workers that stall and come back: each once");
}

/// With the fence removed the same oracle finds effects that happened twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_fails_without_the_fence() {
    let engine = Engine::over(Database::sqlite()).await;
    mutants::remove_fence(true);
    let wrong = ledger(engine, 40, 1).await;
    mutants::remove_fence(false);
    assert!(wrong.iter().any(|line| line.contains("with 2 effects")), "{wrong:?}");
    measured!("without the fence the oracle finds {} jobs wrong", wrong.len());
}
