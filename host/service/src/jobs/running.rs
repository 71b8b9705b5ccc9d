//! What a worker needs to know of a plugin before it runs a job of it, remembered for a
//! moment. What the run writes is checked against the tenant's consent in its commit; this
//! only keeps a thousand deliveries from asking a thousand times.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use purlin_domain::{access::Authority, id::TenantId, limits::GuestLimits, plan::Plan};
use purlin_store::tenants;

use crate::{
    Platform, Result, ServiceError, catalog,
    catalog::Enabled,
    ledger,
    limiter::{self, Rate},
};

/// A plugin that was disabled runs no longer than this.
const REMEMBERED: Duration = Duration::from_millis(500);
const ENTRIES_MAX: u64 = 100_000;

/// A plugin as a tenant runs it, what it may do by itself, and the tenant's plan.
pub(crate) struct Running {
    pub(crate) plugin: Enabled,
    pub(crate) authority: Arc<Authority>,
    pub(crate) plan: Plan,
}

impl Running {
    /// These limits, where the tenant's plan does not set lower ones.
    pub(crate) fn within_plan(&self, limits: GuestLimits) -> GuestLimits {
        limits.within(&self.plan.invocation)
    }

    /// Refuse an invocation beyond the tenant's rate, or beyond its CPU time of the day.
    pub(crate) async fn within_rate(&self, platform: &Platform, tenant: TenantId) -> Result<()> {
        if let Some(rest) = ledger::spent_until(platform, tenant, self.plan.cpu_seconds_per_day_max).await? {
            return Err(ServiceError::TooMany { limit: 0, retry_after: rest, reset_after: rest });
        }
        let Some(ceiling) = self.plan.invocations_per_minute_max else { return Ok(()) };
        if ceiling == 0 {
            let minute = Duration::from_secs(60);
            return Err(ServiceError::TooMany { limit: 0, retry_after: minute, reset_after: minute });
        }
        let rate = Rate::per_minute("invocations", u32::try_from(ceiling).unwrap_or(u32::MAX));
        limiter::limit(platform, rate, &tenant.to_string()).await
    }
}

/// A tenant, as of its last change of access, and a plugin.
type Key = (TenantId, u64, String);

pub(crate) struct RunningPlugins(Cache<Key, Option<Arc<Running>>>);

impl RunningPlugins {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(REMEMBERED).build())
    }
}

/// The plugin, if it is enabled in the tenant. Of many who ask at once, one looks.
pub(crate) async fn running(platform: &Platform, tenant: TenantId, plugin: &str) -> Result<Option<Arc<Running>>> {
    let key = (tenant, platform.access.now(tenant), plugin.to_owned());
    if let Some(known) = platform.running.0.get(&key).await {
        return Ok(known);
    }
    let found = platform.running.0.try_get_with(key, Box::pin(look(platform, tenant, plugin))).await;
    found.map_err(|error| ServiceError::clone(&error))
}

/// The same, for whoever asks something of it; why it does not serve otherwise.
pub(crate) async fn served(platform: &Platform, tenant: TenantId, plugin: &str) -> Result<Arc<Running>> {
    match running(platform, tenant, plugin).await? {
        Some(running) => Ok(running),
        None => Err(catalog::unserved(&mut platform.db.read(tenant).await?, plugin).await?),
    }
}

async fn look(platform: &Platform, tenant: TenantId, plugin: &str) -> Result<Option<Arc<Running>>> {
    let mut tx = platform.db.read(tenant).await?;
    let Some(plugin) = catalog::enabled_plugin(platform, &mut tx, plugin).await? else { return Ok(None) };
    let tenant = tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)?;
    let plan = platform.settings.plans.get(&tenant.plan);
    let grants = Some(plugin.grants());
    let authority = Authority { user: None, scopes: None, grants, plan: plan.permissions.clone() };
    Ok(Some(Arc::new(Running { plugin, authority: Arc::new(authority), plan })))
}
