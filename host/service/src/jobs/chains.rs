//! How many jobs descend from one root cause, for the ceiling of a chain. What is in the database
//! is counted once a second, and what is added on this host meanwhile is added to that at once: a
//! thousand handlers of one event do not count a thousand times, and none passes the ceiling.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use purlin_domain::{id::TenantId, limits::Limit};
use purlin_store::jobs;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{Platform, Result, ServiceError};

const COUNTED_EVERY: Duration = Duration::from_secs(1);
const ROOTS_MAX: u64 = 100_000;

pub(crate) struct ChainMeter(Cache<(TenantId, Uuid), Arc<OnceCell<AtomicI64>>>);

impl ChainMeter {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(ROOTS_MAX).time_to_live(COUNTED_EVERY).build())
    }
}

/// Refuse one more that descends from this root than there may be; those that a request caused
/// itself are not counted. What is not made after all counts until the next second.
pub(crate) async fn grow(platform: &Platform, tenant: TenantId, root: Uuid, max: i64) -> Result<()> {
    let counted = platform.chains.0.get_with((tenant, root), Arc::default);
    let count = async || {
        let size = jobs::chain_size(&mut platform.db.read(tenant).await?, root).await?;
        Ok::<_, ServiceError>(AtomicI64::new(size))
    };
    let size = counted.get_or_try_init(count).await?;
    if size.fetch_add(1, Ordering::AcqRel) >= max {
        size.fetch_sub(1, Ordering::AcqRel);
        return Err(ServiceError::Limit(Limit::ChainSize));
    }
    Ok(())
}
