//! How much data a tenant has, for its plan's ceiling.
//!
//! Adding all of it up for every write would cost more than the write. It is measured when
//! it was not for a minute, and what this host writes meanwhile is added; so the ceiling
//! may be passed by what other hosts write within that minute.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use purlin_domain::{id::TenantId, limits::Limit};
use purlin_store::{TenantTx, tenants, usage};

use crate::{Platform, Result, ServiceError};

const MEASURED_EVERY: Duration = Duration::from_secs(60);
const TENANTS_MAX: u64 = 100_000;

pub(crate) struct StorageMeter {
    measured: Cache<TenantId, Arc<AtomicI64>>,
}

impl StorageMeter {
    pub(crate) fn new() -> Self {
        Self { measured: Cache::builder().max_capacity(TENANTS_MAX).time_to_live(MEASURED_EVERY).build() }
    }
}

/// Refuse a write that would grow the tenant's data beyond its plan. Shrinking is always
/// allowed.
pub(crate) async fn grow(platform: &Platform, tx: &mut TenantTx, bytes: i64) -> Result<()> {
    let tenant = tenants::own(tx).await?.ok_or(ServiceError::NotFound)?;
    let Some(ceiling) = platform.settings.plans.get(&tenant.plan).storage_bytes_max else { return Ok(()) };
    let meter = match platform.storage.measured.get(&tenant.id) {
        Some(meter) => meter,
        None => {
            let meter = Arc::new(AtomicI64::new(usage::storage_bytes(tx).await?));
            platform.storage.measured.insert(tenant.id, Arc::clone(&meter));
            meter
        }
    };
    let after = meter.fetch_add(bytes, Ordering::AcqRel) + bytes;
    if bytes > 0 && after > i64::try_from(ceiling).unwrap_or(i64::MAX) {
        meter.fetch_sub(bytes, Ordering::AcqRel);
        return Err(ServiceError::Limit(Limit::Storage));
    }
    Ok(())
}
