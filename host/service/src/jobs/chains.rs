//! How many jobs descend from one root cause, for the ceiling of a chain. Remembered for a
//! second: a thousand handlers of one event do not count a thousand times, and a chain may
//! pass its ceiling by what is added within that second.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use purlin_domain::id::TenantId;
use purlin_store::jobs;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{Platform, Result};

const COUNTED_EVERY: Duration = Duration::from_secs(1);
const ROOTS_MAX: u64 = 100_000;

pub(crate) struct ChainMeter(Cache<(TenantId, Uuid), Arc<OnceCell<i64>>>);

impl ChainMeter {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(ROOTS_MAX).time_to_live(COUNTED_EVERY).build())
    }
}

/// How many jobs descend from this root, those that a request caused itself not counted.
pub(crate) async fn size(platform: &Platform, tenant: TenantId, root: Uuid) -> Result<i64> {
    let counted = platform.chains.0.get_with((tenant, root), Arc::default);
    let count = async || Ok(jobs::chain_size(&mut platform.db.read(tenant).await?, root).await?);
    counted.get_or_try_init(count).await.copied()
}
