//! Plugin logs: what a guest wrote, and what the host has to say about its invocations.

use purlin_domain::{
    id::{JobId, TenantId},
    log::LogLine,
    principal::Principal,
};
use purlin_store::{
    installations,
    plugin_logs::{self, PluginLog},
};

use crate::{
    Platform, Result, ServiceError,
    list::{ListPage, ListQuery, Prepared},
    storage,
};

/// Keep the lines of one invocation. Its own transaction: they stay when the invocation fails.
pub async fn append(
    platform: &Platform,
    tenant: TenantId,
    plugin: &str,
    job: Option<JobId>,
    lines: Vec<LogLine>,
) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = lines.into_iter().map(|line| (platform.id(), line)).collect();
    let mut tx = platform.db.write(tenant).await?;
    plugin_logs::insert(&mut tx, plugin, job, &lines).await?;
    let stored = tx.stored();
    tx.commit().await?;
    storage::count(platform, tenant, stored, platform.now());
    Ok(())
}

/// A page of a plugin's log in the tenant.
pub async fn list(
    platform: &Platform,
    principal: &Principal,
    plugin: &str,
    query: &ListQuery,
) -> Result<ListPage<PluginLog>> {
    let resource = format!("installations/{plugin}/logs");
    let prepared = Prepared::new(platform, principal.tenant, &resource, &plugin_logs::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    installations::by_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let page = plugin_logs::list(&mut tx, plugin, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}
