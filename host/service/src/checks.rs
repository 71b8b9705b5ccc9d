//! Checks of writes: which plugins of a tenant make them, and what they say.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use purlin_domain::{
    access::Permission,
    descriptor::CHECK,
    error::{HostError, Violation},
    guest::{Verb, WriteToCheck},
    id::TenantId,
    log::{LogLevel, LogLine, escape_control},
    record::CollectionRef,
};
use serde_json::json;

use crate::{
    Platform, Result, breaker, catalog,
    catalog::Enabled,
    guests::{Checked, Ran},
    ledger::{Invoked, Trigger, Went},
    plugin_logs, routes,
    unit::Unit,
};

/// A plugin that was enabled or disabled begins or ceases to check within this.
const REMEMBERED: Duration = Duration::from_millis(500);
const TENANTS_MAX: u64 = 100_000;

/// Of each tenant, the enabled plugins that check any writes.
pub(crate) struct Checkers(Cache<TenantId, (u64, Arc<Vec<Enabled>>)>);

impl Checkers {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(TENANTS_MAX).time_to_live(REMEMBERED).build())
    }
}

async fn of_tenant(platform: &Platform, tenant: TenantId) -> Result<Arc<Vec<Enabled>>> {
    let asked_at = platform.access.now(tenant);
    if let Some((known_at, known)) = platform.checkers.0.get(&tenant)
        && known_at == asked_at
    {
        return Ok(known);
    }
    let mut tx = platform.db.read(tenant).await?;
    let all = catalog::enabled(platform, &mut tx).await?;
    let found = Arc::new(all.into_iter().filter(|p| !p.loaded.descriptor.checks.is_empty()).collect::<Vec<_>>());
    platform.checkers.0.insert(tenant, (asked_at, Arc::clone(&found)));
    Ok(found)
}

/// The plugins that check such a write: its owner, and those that were granted to.
pub(crate) async fn checkers(
    platform: &Platform,
    tenant: TenantId,
    of: &CollectionRef,
    verb: Verb,
) -> Result<Vec<Enabled>> {
    let all = of_tenant(platform, tenant).await?;
    let is_one = |plugin: &&Enabled| {
        let is_own = plugin.installation.plugin == of.plugin;
        plugin.loaded.descriptor.checks(&of.plugin, &of.collection, verb)
            && (is_own || plugin.grants().allows(&Permission::new(of.resource(), CHECK)))
    };
    Ok(all.iter().filter(is_one).cloned().collect())
}

/// Let a plugin check a write, its reads answered by this unit; which is returned, with the
/// versions it saw. One that cannot check keeps the write from being made.
pub(crate) async fn run(
    platform: &Arc<Platform>,
    plugin: &Enabled,
    unit: Box<Unit>,
    write: WriteToCheck,
) -> std::result::Result<Box<Unit>, HostError> {
    let tenant = unit.principal().tenant;
    let (name, subject, trace) = (&plugin.installation.plugin, write.collection.clone(), unit.cause().trace);
    let ran = platform.guests.check(platform, &plugin.loaded.digest, unit, write).await?;
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
