//! Who waits, and who is told of.

use purlin_domain::{
    event::Cause,
    id::TenantId,
    job::{NewJob, Queue},
    trace::Trace,
};
use purlin_store::jobs::{self, Enqueue, Group, Want};
use purlin_test_macros::db_test;
use uuid::Uuid;

use super::support::{Engine, LONG, SHORT};
use crate::support::Database;

fn from_the_start() -> [(Queue, Option<Group>); 3] {
    Queue::ALL.map(|queue| (queue, None))
}

#[db_test]
async fn everybody_who_waits_is_found_by_jumping_from_one_to_the_next(database: Database) {
    let engine = Engine::over(database).await;
    for n in 0..40u128 {
        let tenant = engine.add_tenant(100 + n).await;
        let queue = Queue::ALL[n as usize % 3];
        let new: Vec<NewJob> = (0..5).map(|i| NewJob { queue, ..engine.job(1_000 + n * 10 + i) }).collect();
        engine.enqueue(tenant, &new).await.unwrap();
    }
    let mut tx = engine.db.engine().await.unwrap();
    let all = jobs::look(&mut tx, &from_the_start(), 1_000).await.unwrap().waiting;
    assert_eq!(all.len(), 40);
    assert!(all.iter().all(|group| group.is_runnable && group.plan == "unlimited"));
    // In rounds of three, from where the last one ended.
    let (mut after, mut found) = (from_the_start(), Vec::new());
    for _ in 0..6 {
        let round = jobs::look(&mut tx, &after, 3).await.unwrap().waiting;
        for (queue, after) in &mut after {
            *after = round.iter().rfind(|group| group.queue == *queue).cloned().or(after.take());
        }
        found.extend(round);
    }
    assert_eq!(found.len(), 40);
    found.sort_by_key(|group| (group.queue, group.tenant_id.0));
    let mut sorted = all;
    sorted.sort_by_key(|group| (group.queue, group.tenant_id.0));
    assert_eq!(found, sorted);
}

#[db_test]
async fn whoever_is_suspended_or_paused_is_told_of_as_not_to_run(database: Database) {
    let engine = Engine::over(database).await;
    let mut tenants: Vec<TenantId> = Vec::new();
    for n in 0..4u128 {
        let tenant = engine.add_tenant(100 + n).await;
        engine.enqueue(tenant, &[engine.job(1_000 + n)]).await.unwrap();
        tenants.push(tenant);
    }
    let mut tx = engine.db.write(tenants[0]).await.unwrap();
    let own = purlin_store::tenants::own(&mut tx).await.unwrap().unwrap();
    let suspended =
        purlin_store::tenants::Tenant { status: purlin_domain::tenant::TenantStatus::Suspended, ..own.clone() };
    assert!(purlin_store::tenants::update(&mut tx, &suspended, own.updated_at).await.unwrap());
    tx.commit().await.unwrap();
    let pause = |kind: &str| purlin_store::job_pauses::JobPause {
        queue: "*".to_owned(),
        kind: kind.to_owned(),
        reason: "test".to_owned(),
        created_at: engine.now,
    };
    let mut tx = engine.db.write(tenants[1]).await.unwrap();
    purlin_store::job_pauses::insert(&mut tx, &pause("ping"), None).await.unwrap();
    tx.commit().await.unwrap();
    let runnable = async || -> Vec<TenantId> {
        let mut tx = engine.db.engine().await.unwrap();
        let groups = jobs::look(&mut tx, &from_the_start(), 100).await.unwrap().waiting;
        assert_eq!(groups.len(), 4);
        groups.into_iter().filter(|group| group.is_runnable).map(|group| group.tenant_id).collect()
    };
    assert_eq!(runnable().await, tenants[2..]);
    let mut tx = engine.db.platform().await.unwrap();
    purlin_store::job_pauses::insert_platform(&mut tx, &pause("*")).await.unwrap();
    tx.commit().await.unwrap();
    assert!(runnable().await.is_empty());
}

#[db_test]
async fn within_a_tenant_priority_decides_across_kinds_and_then_who_was_first(database: Database) {
    let engine = Engine::over(database).await;
    let job = |n: u128, kind: &str, priority: u8| NewJob { kind: kind.to_owned(), priority, ..engine.job(n) };
    let new = [job(1, "ping", 5), job(2, "other", 5), job(3, "other", 1), job(4, "ping", 0), job(5, "ping", 9)];
    engine.enqueue(engine.tenant, &new).await.unwrap();
    let groups = ["ping", "other"].map(|kind| ("core".to_owned(), kind.to_owned())).to_vec();
    let mut order = Vec::new();
    for _ in 0..5 {
        let want = Want { queue: Queue::Default, tenant: engine.tenant, groups: groups.clone(), count: 1 };
        let lease = jobs::Lease { worker: Uuid::from_u128(1), length: LONG };
        let mut tx = engine.db.engine().await.unwrap();
        order.extend(
            jobs::claim(&mut tx, lease, &[want], engine.now).await.unwrap().iter().map(|job| job.id.0.as_u128()),
        );
        tx.commit().await.unwrap();
    }
    assert_eq!(order, [4, 3, 1, 2, 5]);
}

#[db_test]
async fn what_is_added_as_leased_runs_under_that_lease_unless_it_is_paused(database: Database) {
    let engine = Engine::over(database).await;
    let is_embedded = engine.db.is_embedded();
    let lease = jobs::Lease { worker: Uuid::from_u128(1), length: LONG };
    let cause = Cause::first(None, Uuid::from_u128(7), Trace::begin(Uuid::from_u128(7), Uuid::from_u128(8), false));
    let paused = NewJob { kind: "other".to_owned(), ..engine.job(2) };
    let new = [engine.job(1), paused];
    let pause = purlin_store::job_pauses::JobPause {
        queue: "*".to_owned(),
        kind: "other".to_owned(),
        reason: "test".to_owned(),
        created_at: engine.now,
    };
    let mut tx = engine.db.write(engine.tenant).await.unwrap();
    purlin_store::job_pauses::insert(&mut tx, &pause, None).await.unwrap();
    tx.commit().await.unwrap();

    let leased = engine.enqueue_leased(&new, lease).await;
    let ready = Some(("ready".to_owned(), 0, 0));
    assert_eq!(engine.state(2).await, ready, "what is paused waits");
    if is_embedded {
        assert!(leased.is_empty());
        assert_eq!(engine.state(1).await, ready, "the embedded database only adds");
        return;
    }
    let alone = NewJob { kind: "other".to_owned(), ..engine.job(4) };
    assert!(engine.enqueue_leased(&[alone], lease).await.is_empty(), "also where it is the only one");
    assert_eq!(engine.state(4).await, ready);
    let (id, place) = &leased[0];
    assert_eq!((leased.len(), *id), (1, new[0].id));
    assert_eq!(engine.state(1).await, Some(("running".to_owned(), 1, 0)));
    assert!(engine.claim(2, LONG, Queue::Default, 10).await.is_empty(), "nobody else is given it");
    assert_eq!(engine.rescue(2).await, 0, "its lease holds");
    let claimed = jobs::Claimed::of(engine.tenant, &Enqueue::core(&new[0], &cause), lease, place.clone());
    assert!(engine.finish(claimed.fence(), None, &super::support::done()).await);
    assert!(!engine.finish(claimed.fence(), None, &super::support::done()).await, "it ended once");

    // One whose worker died before it heard of it is taken back like any other.
    let lost = jobs::Lease { length: SHORT, ..lease };
    assert_eq!(engine.enqueue_leased(&[engine.job(3)], lost).await.len(), 1);
    assert_eq!(engine.rescue(2).await, 1);
    assert_eq!(engine.state(3).await, Some(("scheduled".to_owned(), 0, 1)), "as a suspect");
    assert!(engine.claim_suspect(2, LONG).await.is_some());
}
