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
use purlin_store::{TenantTx, plugin_files, tenants, usage};

use crate::{Platform, Result, ServiceError};

const MEASURED_EVERY: Duration = Duration::from_secs(60);
const TENANTS_MAX: u64 = 100_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Record data.
    Records,
    /// Files of plugins.
    Files,
}

/// What a tenant has of a kind, and may have.
struct Amount {
    bytes: AtomicI64,
    /// None when there is no ceiling.
    bytes_max: Option<i64>,
    limit: Limit,
}

impl Amount {
    fn new(bytes: i64, bytes_max: Option<u64>, limit: Limit) -> Self {
        let bytes_max = bytes_max.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        Self { bytes: AtomicI64::new(bytes), bytes_max, limit }
    }

    fn has_room(&self, growth: i64) -> bool {
        growth <= 0 || self.bytes_max.is_none_or(|max| self.bytes.load(Ordering::Acquire) + growth <= max)
    }

    fn grow(&self, growth: i64) -> Result<()> {
        if !self.has_room(growth) {
            return Err(ServiceError::Limit(self.limit));
        }
        self.bytes.fetch_add(growth, Ordering::AcqRel);
        Ok(())
    }
}

/// What a tenant has.
struct Measured {
    records: Amount,
    files: Amount,
}

impl Measured {
    fn of(&self, kind: Kind) -> &Amount {
        match kind {
            Kind::Records => &self.records,
            Kind::Files => &self.files,
        }
    }
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

/// Refuse what would grow the tenant's data beyond its plan. Shrinking is always allowed.
pub(crate) async fn grow(platform: &Platform, tx: &mut TenantTx, kind: Kind, bytes: i64) -> Result<()> {
    measured(platform, tx).await?.of(kind).grow(bytes)
}

/// Refuse what would, before it is gathered.
pub(crate) async fn check_room(platform: &Platform, tx: &mut TenantTx, kind: Kind, bytes: i64) -> Result<()> {
    let measured = measured(platform, tx).await?;
    let amount = measured.of(kind);
    if amount.has_room(bytes) { Ok(()) } else { Err(ServiceError::Limit(amount.limit)) }
}

async fn measured(platform: &Platform, tx: &mut TenantTx) -> Result<Arc<Measured>> {
    if let Some(measured) = platform.storage.measured.get(&tx.tenant()) {
        return Ok(measured);
    }
    let tenant = tenants::own(tx).await?.ok_or(ServiceError::NotFound)?;
    let plan = platform.settings.plans.get(&tenant.plan);
    let records = if plan.storage_bytes_max.is_some() { usage::storage_bytes(tx).await? } else { 0 };
    let files = if plan.file_bytes_max.is_some() { plugin_files::bytes(tx).await? } else { 0 };
    let measured = Arc::new(Measured {
        records: Amount::new(records, plan.storage_bytes_max, Limit::Storage),
        files: Amount::new(files, plan.file_bytes_max, Limit::FileBytes),
    });
    platform.storage.measured.insert(tenant.id, Arc::clone(&measured));
    Ok(measured)
}
