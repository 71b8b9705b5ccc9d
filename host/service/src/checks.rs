//! Checks of writes: which plugins of a tenant make them, and what they say.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use purlin_domain::{
    access::Permission,
    descriptor::CHECK,
    error::{HostError, Violation},
    guest::{Verb, WriteToCheck},
    id::TenantId,
    limits::GuestLimits,
    log::{LogLevel, LogLine, escape_control},
    record::CollectionRef,
};
use purlin_store::tenants;
use serde_json::json;

use crate::{
    Platform, Result, ServiceError, breaker, catalog,
    catalog::Enabled,
    guests::{Checked, Ran},
    ledger::{Invoked, Trigger, Went},
    plugin_logs, routes,
    unit::Unit,
};

/// A plugin that was enabled or disabled begins or ceases to check within this.
const REMEMBERED: Duration = Duration::from_millis(500);
const TENANTS_MAX: u64 = 100_000;

/// The enabled plugins of a tenant that check any writes, and what its plan leaves them to do so.
struct OfTenant {
    plugins: Vec<Enabled>,
    limits: GuestLimits,
}

/// The same of every tenant, remembered for a moment.
pub(crate) struct Checkers(Cache<TenantId, (u64, Arc<OfTenant>)>);

impl Checkers {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(TENANTS_MAX).time_to_live(REMEMBERED).build())
    }
}

async fn of_tenant(platform: &Platform, tenant: TenantId) -> Result<Arc<OfTenant>> {
    let asked_at = platform.access.now(tenant);
    if let Some((known_at, known)) = platform.checkers.0.get(&tenant)
        && known_at == asked_at
    {
        return Ok(known);
    }
    let mut tx = platform.db.read(tenant).await?;
    let all = catalog::enabled(platform, &mut tx).await?;
    let own = tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)?;
    let limits = GuestLimits::CHECK.within(&platform.settings.plans.get(&own.plan).invocation);
    let plugins = all.into_iter().filter(|p| !p.loaded.descriptor.checks.is_empty()).collect();
    let found = Arc::new(OfTenant { plugins, limits });
    platform.checkers.0.insert(tenant, (asked_at, Arc::clone(&found)));
    Ok(found)
}

/// The plugins that check such a write, its owner and those that were granted to, and within
/// which limits.
pub(crate) async fn checkers(
    platform: &Platform,
    tenant: TenantId,
    of: &CollectionRef,
    verb: Verb,
) -> Result<(Vec<Enabled>, GuestLimits)> {
    let all = of_tenant(platform, tenant).await?;
    let is_one = |plugin: &&Enabled| {
        let is_own = plugin.installation.plugin == of.plugin;
        plugin.loaded.descriptor.checks(&of.plugin, &of.collection, verb)
            && (is_own || plugin.grants().allows(&Permission::new(of.resource(), CHECK)))
    };
    Ok((all.plugins.iter().filter(is_one).cloned().collect(), all.limits))
}

/// Let a plugin check a write, its reads answered by this unit; which is returned, with the
/// versions it saw. One that cannot check keeps the write from being made.
pub(crate) async fn run(
    platform: &Arc<Platform>,
    plugin: &Enabled,
    unit: Box<Unit>,
    write: WriteToCheck,
    limits: GuestLimits,
) -> std::result::Result<Box<Unit>, HostError> {
    let tenant = unit.principal().tenant;
    let (name, subject, trace) = (&plugin.installation.plugin, write.collection.clone(), unit.cause().trace);
    let ran = platform.guests.check(platform, &plugin.loaded.digest, unit, write, limits).await?;
    let Ran { outcome, unit, mut log, usage } = ran;
    let went = match &outcome {
        Ok(Ok(())) => Went::Well,
        Ok(Err(_)) => Went::Failed,
        Err(ended) => Went::of(ended),
    };
    let trigger = Trigger { kind: "check", subject, job: None, trace };
    breaker::ended(platform, tenant, plugin, Invoked { trigger, went, usage, gathered: [0; 3] }).await;
    let verdict: std::result::Result<Checked, HostError> = outcome.map_err(|ended| {
        let message = escape_control(&format!("checking a write: {ended}"));
        let fields = json!({ "host": true });
        log.push(LogLine { time: platform.now(), level: LogLevel::Error, message, fields });
        HostError::Failed(format!("the plugin `{name}` could not check the write"))
    });
    if let Err(error) = plugin_logs::append(platform, tenant, name, None, log).await {
        tracing::warn!(%error, plugin = name, "a plugin's log could not be kept");
    }
    match verdict? {
        Ok(()) => unit.ok_or_else(|| HostError::Unavailable("the unit of work is gone".to_owned())),
        Err(found) => Err(routes::shortened(HostError::Invalid(told(name, found)))),
    }
}

/// What a plugin found wrong; that it found something where it says nothing.
fn told(plugin: &str, found: Vec<Violation>) -> Vec<Violation> {
    if found.is_empty() {
        vec![Violation::new("", "plugin", format!("the plugin `{plugin}` refuses the write"))]
    } else {
        found
    }
}
