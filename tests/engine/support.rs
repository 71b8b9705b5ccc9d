//! An engine over a test's database, without a host.

use std::time::Duration;

use purlin_domain::{
    Timestamp,
    event::Cause,
    id::{JobId, TenantId},
    job::{NewJob, Queue},
    tenant::TenantStatus,
    trace::Trace,
};
use purlin_store::{
    Db,
    jobs::{self, Claimed, Enqueue, Fence, Lease, Outcome, Want},
    migrate, tenants,
    tenants::Tenant,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::Database;

/// A lease that ends while the test runs, or one that does not.
pub const SHORT: Duration = Duration::ZERO;
pub const LONG: Duration = Duration::from_secs(3_600);

pub struct Engine {
    pub db: Db,
    pub tenant: TenantId,
    pub now: Timestamp,
    pub database: Database,
}

impl Engine {
    pub async fn over(database: Database) -> Self {
        let config = database.config();
        migrate::up(&config).await.unwrap();
        let db = Db::open(&config).await.unwrap();
        // Well before the clock of any database, so that a short lease has ended.
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        db.make_partitions(now).await.unwrap();
        let mut engine = Self { db, tenant: TenantId(Uuid::nil()), now, database };
        engine.tenant = engine.add_tenant(1).await;
        engine
    }

    pub async fn add_tenant(&self, n: u128) -> TenantId {
        let id = TenantId(Uuid::from_u128(n));
        let tenant = Tenant {
            id,
            name: format!("tenant {n}"),
            slug: format!("tenant-{n}"),
            domain: None,
            domain_approved_at: None,
            status: TenantStatus::Active,
            plan: "unlimited".to_owned(),
            settings: json!({}),
            provisioned_at: Some(self.now),
            created_at: self.now,
            updated_at: self.now,
        };
        let mut tx = self.db.write(id).await.unwrap();
        tenants::insert(&mut tx, &tenant).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// A job of the platform's own, due at once.
    pub fn job(&self, n: u128) -> NewJob {
        NewJob::new(JobId(Uuid::from_u128(n)), "ping", json!({ "n": u64::try_from(n).unwrap() }), self.now)
    }

    pub async fn enqueue(&self, tenant: TenantId, new: &[NewJob]) -> purlin_store::Result<()> {
        let cause = Cause::first(None, Uuid::from_u128(7), Trace::begin(Uuid::from_u128(7), Uuid::from_u128(8), false));
        let rows: Vec<Enqueue<'_>> = new.iter().map(|job| Enqueue::core(job, &cause)).collect();
        let mut tx = self.db.write(tenant).await?;
        jobs::insert(&mut tx, &rows, self.now).await?;
        tx.commit().await
    }

    /// Add jobs as leased by a worker; those that are, and where their rows lie.
    pub async fn enqueue_leased(&self, new: &[NewJob], lease: Lease) -> Vec<(JobId, String)> {
        let cause = Cause::first(None, Uuid::from_u128(7), Trace::begin(Uuid::from_u128(7), Uuid::from_u128(8), false));
        let rows: Vec<Enqueue<'_>> = new.iter().map(|job| Enqueue::core(job, &cause)).collect();
        let tx = self.db.write(self.tenant).await.unwrap();
        jobs::insert_leased(tx, &rows, lease, self.now).await.unwrap()
    }

    /// Claim up to `count` jobs of a queue for a worker.
    pub async fn claim(&self, worker: u128, length: Duration, queue: Queue, count: u32) -> Vec<Claimed> {
        let groups = vec![("core".to_owned(), "ping".to_owned())];
        let want = Want { queue, tenant: self.tenant, groups, count };
        let lease = Lease { worker: Uuid::from_u128(worker), length };
        let mut tx = self.db.engine().await.unwrap();
        let mut claimed = jobs::claim(&mut tx, lease, &[want], self.now).await.unwrap();
        tx.commit().await.unwrap();
        claimed.sort_by_key(|job| job.id);
        claimed
    }

    pub async fn finish(&self, fence: Fence, lane: Option<&str>, outcome: &Outcome) -> bool {
        let mut tx = self.db.write(self.tenant).await.unwrap();
        let held = jobs::finish(&mut tx, fence, lane, outcome, self.now).await.unwrap();
        if held {
            tx.commit().await.unwrap();
        }
        held
    }

    /// Claim the next suspect for a worker.
    pub async fn claim_suspect(&self, worker: u128, length: Duration) -> Option<Claimed> {
        let lease = Lease { worker: Uuid::from_u128(worker), length };
        let mut tx = self.db.engine().await.unwrap();
        let claimed = jobs::claim_suspect(&mut tx, lease, self.now).await.unwrap();
        tx.commit().await.unwrap();
        claimed
    }

    /// Take jobs back whose lease ended, as a worker that holds none.
    pub async fn rescue(&self, own: u128) -> usize {
        self.rescue_but(own, &[]).await
    }

    /// The same, as a worker that holds these.
    pub async fn rescue_but(&self, own: u128, holds: &[JobId]) -> usize {
        let rescued = self.take_back(own, holds).await;
        self.open_lanes().await;
        rescued
    }

    /// The first half of a rescue, as of a host that dies before the second.
    pub async fn take_back(&self, own: u128, holds: &[JobId]) -> usize {
        let mut tx = self.db.engine().await.unwrap();
        let rescued = jobs::rescue(&mut tx, Uuid::from_u128(own), holds, self.now, 3).await.unwrap();
        tx.commit().await.unwrap();
        rescued.len()
    }

    /// The second half; how many lanes had lost their head.
    pub async fn open_lanes(&self) -> usize {
        let mut tx = self.db.engine().await.unwrap();
        let lanes = jobs::headless_lanes(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        for (tenant, key) in &lanes {
            let mut tx = self.db.write(*tenant).await.unwrap();
            jobs::reopen_lane(&mut tx, key, self.now).await.unwrap();
            tx.commit().await.unwrap();
        }
        lanes.len()
    }

    pub async fn promote(&self) -> u64 {
        let mut tx = self.db.engine().await.unwrap();
        let count = jobs::promote(&mut tx, self.now, 100_000).await.unwrap();
        tx.commit().await.unwrap();
        count
    }

    /// Where a job is, how often it ran and crashed.
    pub async fn state(&self, n: u128) -> Option<(String, i64, i64)> {
        let mut tx = self.db.read(self.tenant).await.unwrap();
        let job = jobs::by_id(&mut tx, JobId(Uuid::from_u128(n))).await.unwrap();
        job.map(|job| (job.state.as_str().to_owned(), job.attempt, job.crashes))
    }
}

pub fn done() -> Outcome {
    Outcome::Succeeded { result: None, progress: None }
}
