//! What is brought along with a claim of many jobs.

use std::collections::HashSet;

use purlin_domain::{
    event::{Cause, NewEvent},
    id::{EventId, TenantId},
    job::{NewJob, Queue},
    trace::Trace,
};
use purlin_store::events::{self, Publish};
use purlin_test_macros::db_test;
use serde_json::{Value, json};
use uuid::{ContextV7, Timestamp, Uuid};

use super::support::{Engine, LONG};
use crate::support::Database;

/// As much as an event or a job may carry.
const LARGE: usize = 200 * 1024;

impl Engine {
    /// Publish events with ids of now; which they are.
    pub async fn publish(&self, tenant: TenantId, data: &[Value]) -> Vec<(TenantId, EventId)> {
        let context = ContextV7::new();
        let (seconds, nanos) = (self.now.timestamp().unsigned_abs(), self.now.timestamp_subsec_nanos());
        let id = || EventId(Uuid::new_v7(Timestamp::from_unix(&context, seconds, nanos)));
        let new: Vec<NewEvent> = data
            .iter()
            .map(|data| NewEvent {
                id: id(),
                source: "/core".to_owned(),
                event_type: "core.tested".to_owned(),
                subject: None,
                data: data.clone(),
            })
            .collect();
        let cause = Cause::first(None, Uuid::from_u128(7), Trace::begin(Uuid::from_u128(7), Uuid::from_u128(8), false));
        let rows: Vec<_> = new.iter().map(|event| Publish { event, cause: &cause, by: None }).collect();
        let mut tx = self.db.write(tenant).await.unwrap();
        events::insert(&mut tx, &rows, self.now).await.unwrap();
        tx.commit().await.unwrap();
        new.iter().map(|event| (tenant, event.id)).collect()
    }

    /// The data of those that were brought, in the order they are named in.
    pub async fn bring(&self, wanted: &[(TenantId, EventId)]) -> Vec<Option<Value>> {
        let mut tx = self.db.engine().await.unwrap();
        let found = events::small(&mut tx, &wanted.iter().copied().collect::<HashSet<_>>()).await.unwrap();
        tx.commit().await.unwrap();
        assert!(found.iter().all(|((_, id), event)| *id == event.id));
        wanted.iter().map(|wanted| found.get(wanted).map(|event| event.data.clone())).collect()
    }
}

#[db_test]
async fn small_events_are_brought_each_as_its_own_tenants(database: Database) {
    let engine = Engine::over(database).await;
    let other = engine.add_tenant(2).await;
    let all: Vec<Value> = (0..20).map(|n| json!({ "n": n })).collect();
    let own = engine.publish(engine.tenant, &all).await;
    let others = engine.publish(other, &[json!({ "n": "other" })]).await;
    let mut wanted = vec![own[0], own[7], own[19], others[0]];
    // Nobody's: one of another tenant's, one that was never published, and one after the last.
    wanted.extend([(other, own[3].1), (engine.tenant, others[0].1), (other, EventId(Uuid::max()))]);
    let found = engine.bring(&wanted).await;
    let expected = [Some(&all[0]), Some(&all[7]), Some(&all[19]), Some(&json!({ "n": "other" })), None, None, None];
    assert_eq!(found.iter().map(Option::as_ref).collect::<Vec<_>>(), expected);
}

#[db_test]
async fn what_is_large_once_it_is_read_is_not_brought_along(database: Database) {
    let engine = Engine::over(database).await;
    // Which is stored in a hundredth of that.
    let (small, large) = (json!({ "text": "x".repeat(3_000) }), json!({ "text": "x".repeat(LARGE) }));
    let published = engine.publish(engine.tenant, &[small.clone(), large.clone()]).await;
    assert_eq!(engine.bring(&published).await, [Some(small.clone()), None]);
    let jobs = [(1, &small), (2, &large)].map(|(n, payload)| NewJob { payload: payload.clone(), ..engine.job(n) });
    engine.enqueue(engine.tenant, &jobs).await.unwrap();
    let claimed = engine.claim(1, LONG, Queue::Default, 10).await;
    assert_eq!(claimed.into_iter().map(|job| job.payload).collect::<Vec<_>>(), [Some(small), None]);
}
