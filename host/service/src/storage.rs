//! How much a tenant has stored, for its plan's ceilings: records, files, and everything else.
//!
//! Adding all of it up for every write would cost more than the write. It is measured when it was not
//! for a minute, and what this host writes meanwhile is added; so a ceiling may be passed by what other
//! hosts write within that minute. What stays for a time whatever becomes of what it tells of (audit
//! rows, events, jobs, kept answers, logs) is not measured but counted, day by day, as it is written.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DurationRound, TimeDelta};
use moka::sync::Cache;
use purlin_domain::{Json, Timestamp, id::TenantId, limits::Limit, plan::Plan};
use purlin_store::{
    TenantTx, plugin_files, tenants,
    usage::{self, Stored},
};
use serde_json::json;

use crate::{Platform, Result, ServiceError, idempotency};

const MEASURED_EVERY: Duration = Duration::from_secs(60);
const TENANTS_MAX: u64 = 100_000;
/// Between two writes of what was counted.
pub const WRITTEN_EVERY: Duration = Duration::from_secs(5);
/// By how much what takes something away, such as to deactivate somebody, may pass the ceiling.
const MARGIN_PERCENT: i64 = 10;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Record data.
    Records,
    /// Files of plugins.
    Files,
    /// Everything else.
    Other,
}

/// How much room there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Some below the ceiling.
    Below,
    /// Some below the ceiling and a tenth of it.
    WithMargin,
    /// None: it is done at the ceiling too.
    None,
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

    fn add(&self, growth: i64) {
        self.bytes.fetch_add(growth, Ordering::AcqRel);
    }

    fn grow(&self, growth: i64) -> Result<()> {
        if !self.has_room(growth) {
            return Err(ServiceError::Limit(self.limit));
        }
        self.add(growth);
        Ok(())
    }
}

pub(crate) struct StorageMeter {
    measured: Cache<(TenantId, Kind), Arc<Amount>>,
    /// What was counted and not written yet.
    counted: Mutex<HashMap<(TenantId, Timestamp), Stored>>,
}

impl StorageMeter {
    pub(crate) fn new() -> Self {
        let measured = Cache::builder().max_capacity(TENANTS_MAX).time_to_live(MEASURED_EVERY).build();
        Self { measured, counted: Mutex::default() }
    }

    /// The tenant's plan is another one now.
    pub(crate) fn forget(&self, tenant: TenantId) {
        for kind in [Kind::Records, Kind::Files, Kind::Other] {
            self.measured.invalidate(&(tenant, kind));
        }
    }
}

/// Refuse what would grow the tenant's data beyond its plan. Shrinking is always allowed.
pub(crate) async fn grow(platform: &Platform, tx: &mut TenantTx, kind: Kind, bytes: i64) -> Result<()> {
    measured(platform, tx, kind).await?.grow(bytes)
}

/// Refuse what would, before it is gathered.
pub(crate) async fn check_room(platform: &Platform, tx: &mut TenantTx, kind: Kind, bytes: i64) -> Result<()> {
    let amount = measured(platform, tx, kind).await?;
    if amount.has_room(bytes) { Ok(()) } else { Err(ServiceError::Limit(amount.limit)) }
}

/// Refuse to write anything for a tenant that is at the ceiling of everything else.
pub async fn require_room(platform: &Platform, tenant: TenantId, room: Room) -> Result<()> {
    if room == Room::None {
        return Ok(());
    }
    let other = match platform.storage.measured.get(&(tenant, Kind::Other)) {
        Some(other) => other,
        None => measure(platform, &mut platform.db.read(tenant).await?, Kind::Other).await?,
    };
    let max = other.bytes_max.unwrap_or(i64::MAX);
    let max = if room == Room::WithMargin { max.saturating_add(max / 100 * MARGIN_PERCENT) } else { max };
    if other.bytes.load(Ordering::Acquire) < max { Ok(()) } else { Err(ServiceError::Limit(Limit::OtherBytes)) }
}

/// Count what a transaction stored, once it is committed.
pub(crate) fn count(platform: &Platform, tenant: TenantId, stored: Stored, now: Timestamp) {
    if stored.total() == 0 {
        return;
    }
    if let Some(other) = platform.storage.measured.get(&(tenant, Kind::Other)) {
        other.add(stored.total());
    }
    let day = now.duration_trunc(TimeDelta::days(1)).unwrap_or(now);
    let mut counted = platform.storage.counted.lock().unwrap_or_else(PoisonError::into_inner);
    *counted.entry((tenant, day)).or_default() += stored;
}

/// Write what was counted since the last time; what cannot be written is, the next time.
pub async fn write(platform: &Platform) -> Result<()> {
    let counted = std::mem::take(&mut *platform.storage.counted.lock().unwrap_or_else(PoisonError::into_inner));
    if counted.is_empty() {
        return Ok(());
    }
    let written = write_down(platform, &counted).await;
    if written.is_err() {
        let mut again = platform.storage.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for (of, stored) in counted {
            *again.entry(of).or_default() += stored;
        }
    }
    written
}

async fn write_down(platform: &Platform, counted: &HashMap<(TenantId, Timestamp), Stored>) -> Result<()> {
    let mut entries = Vec::new();
    for ((tenant, day), stored) in counted {
        let (tenant, day) = (tenant.0.simple().to_string(), day.to_rfc3339());
        let kinds = stored.kinds().into_iter().filter(|(_, bytes)| *bytes > 0);
        entries.extend(kinds.map(|(kind, bytes)| json!({ "t": tenant, "k": kind, "d": day, "bytes": bytes })));
    }
    let mut tx = platform.db.platform().await?;
    usage::add_stored(&mut tx, Json::Array(entries), platform.now()).await?;
    Ok(tx.commit().await?)
}

/// How long what is counted stays; for ever when missing.
fn life(platform: &Platform, audit_days: Option<u32>, kind: &str) -> Option<TimeDelta> {
    let days = |life: Duration| TimeDelta::from_std(life).ok();
    match kind {
        "audit" => audit_days.map(|days| TimeDelta::days(i64::from(days))),
        "jobs" => days(platform.settings.job_history_life),
        "answers" => Some(idempotency::KEPT),
        "logs" => days(platform.settings.plugin_log_life),
        _ => None,
    }
}

/// Forget what was counted of what is gone by now.
pub(crate) async fn forget_old(platform: &Platform, now: Timestamp) -> Result<()> {
    let mut tx = platform.db.platform().await?;
    for kind in ["jobs", "answers", "logs"] {
        if let Some(life) = life(platform, None, kind) {
            usage::delete_stored(&mut tx, kind, now - life - TimeDelta::days(1)).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Bytes of everything beside records and files, by what they are of.
pub(crate) async fn other(platform: &Platform, tx: &mut TenantTx, plan: &Plan) -> Result<BTreeMap<String, i64>> {
    let now = platform.now();
    let mut kinds = BTreeMap::from([("state".to_owned(), usage::state_bytes(tx).await?)]);
    for stored in usage::stored(tx).await? {
        // A day counts until the last of it is gone.
        let is_there = life(platform, plan.audit_days, &stored.kind)
            .is_none_or(|life| stored.day + TimeDelta::days(1) + life > now);
        *kinds.entry(stored.kind).or_default() += if is_there { stored.bytes } else { 0 };
    }
    let counted = platform.storage.counted.lock().unwrap_or_else(PoisonError::into_inner);
    let own = counted.iter().filter(|((tenant, _), _)| *tenant == tx.tenant());
    for (kind, bytes) in own.flat_map(|(_, stored)| stored.kinds()) {
        *kinds.entry(kind.to_owned()).or_default() += bytes;
    }
    Ok(kinds)
}

async fn measured(platform: &Platform, tx: &mut TenantTx, kind: Kind) -> Result<Arc<Amount>> {
    match platform.storage.measured.get(&(tx.tenant(), kind)) {
        Some(amount) => Ok(amount),
        None => measure(platform, tx, kind).await,
    }
}

async fn measure(platform: &Platform, tx: &mut TenantTx, kind: Kind) -> Result<Arc<Amount>> {
    let tenant = tenants::own(tx).await?.ok_or(ServiceError::NotFound)?;
    let plan = platform.settings.plans.get(&tenant.plan);
    let (max, limit) = match kind {
        Kind::Records => (plan.storage_bytes_max, Limit::Storage),
        Kind::Files => (plan.file_bytes_max, Limit::FileBytes),
        Kind::Other => (plan.other_bytes_max, Limit::OtherBytes),
    };
    let bytes = match (max, kind) {
        // Nobody asks.
        (None, _) => 0,
        (_, Kind::Records) => usage::storage_bytes(tx).await?,
        (_, Kind::Files) => plugin_files::bytes(tx).await?,
        (_, Kind::Other) => other(platform, tx, &plan).await?.values().sum(),
    };
    let amount = Arc::new(Amount::new(bytes, max, limit));
    platform.storage.measured.insert((tenant.id, kind), Arc::clone(&amount));
    Ok(amount)
}
