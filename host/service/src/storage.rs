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

/// What a tenant has, and may have.
struct Measured {
    bytes: AtomicI64,
    /// None when there is no ceiling.
    bytes_max: Option<i64>,
}

pub(crate) struct StorageMeter {
    measured: Cache<TenantId, Arc<Measured>>,
}

impl StorageMeter {
    pub(crate) fn new() -> Self {
        Self { measured: Cache::builder().max_capacity(TENANTS_MAX).time_to_live(MEASURED_EVERY).build() }
    }

    /// The tenant's plan is another one now.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.measured.invalidate(&tenant);
    }
}

/// Refuse a write that would grow the tenant's data beyond its plan. Shrinking is always
/// allowed.
pub(crate) async fn grow(platform: &Platform, tx: &mut TenantTx, bytes: i64) -> Result<()> {
    let measured = match platform.storage.measured.get(&tx.tenant()) {
        Some(measured) => measured,
        None => measure(platform, tx).await?,
    };
    let Some(bytes_max) = measured.bytes_max else { return Ok(()) };
    let after = measured.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
    if bytes > 0 && after > bytes_max {
        measured.bytes.fetch_sub(bytes, Ordering::AcqRel);
        return Err(ServiceError::Limit(Limit::Storage));
    }
    Ok(())
}

async fn measure(platform: &Platform, tx: &mut TenantTx) -> Result<Arc<Measured>> {
    let tenant = tenants::own(tx).await?.ok_or(ServiceError::NotFound)?;
    let ceiling = platform.settings.plans.get(&tenant.plan).storage_bytes_max;
    let bytes = if ceiling.is_some() { usage::storage_bytes(tx).await? } else { 0 };
    let bytes_max = ceiling.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let measured = Arc::new(Measured { bytes: AtomicI64::new(bytes), bytes_max });
    platform.storage.measured.insert(tenant.id, Arc::clone(&measured));
    Ok(measured)
}
