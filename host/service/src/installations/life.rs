//! How an installation goes on and ends: back to the version before, paused by the host,
//! uninstalled, purged.

use std::sync::Arc;

use purlin_domain::{
    Json, Timestamp,
    access::PermissionSet,
    audit::Origin,
    guest::Step,
    id::TenantId,
    job::{Failure, NewJob},
    principal::Principal,
};
use purlin_store::{
    TenantTx,
    installations::{self, Installation},
    jobs::{self, Claimed, Outcome},
    plugin_data::{self, RecordsOf},
    plugin_files, plugin_secrets, record_references,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{InstallationView, changed, gone, tell, upgrade, view};
use crate::{
    Platform, Result, ServiceError, access,
    change::{Change, Mutation},
    indexes, schedules,
    unit::forget_contents,
    users::Enqueued,
};

/// The kind of the job that erases what a plugin has.
pub(crate) const PURGE: &str = "purge_plugin";
/// Rows and files erased in one transaction.
const ERASED_AT_ONCE: u32 = 1_000;

/// Run the version before this one again, with what was granted to it; and with what was set then,
/// where it cannot take what is set now.
pub async fn roll_back(platform: &Platform, principal: &Principal, plugin: &str) -> Result<InstallationView> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = installations::hold(&mut change.tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let after = go_back(platform, &mut change, &before, None).await?;
    let Some(after) = after else {
        return Err(upgrade::no_previous_version());
    };
    // What was granted then is granted anew: nobody grants what they lack.
    let grants: PermissionSet = serde_json::from_value(after.grants.clone()).map_err(ServiceError::internal)?;
    access::require_all(principal, &grants.0)?;
    let loaded = platform.catalog.load(&mut change.tx, &after).await?;
    let view = view(&mut change.tx, after, &loaded).await?;
    change.finish(view).await
}

/// The same because the new version keeps failing.
pub(crate) async fn roll_back_by_host(
    platform: &Platform,
    tenant: TenantId,
    failing: &Installation,
    reason: &str,
) -> Result<()> {
    let principal = Principal::system(tenant, Origin::default());
    let mut change = Mutation::begin(platform, &principal).await?;
    let Some(before) = installations::hold(&mut change.tx, &failing.plugin).await? else { return Ok(()) };
    if before.version_id == failing.version_id && go_back(platform, &mut change, &before, Some(reason)).await?.is_some()
    {
        tracing::warn!(%tenant, plugin = failing.plugin, reason, "a plugin went back to the version before");
        return change.finish(()).await;
    }
    Ok(())
}

async fn go_back(
    platform: &Platform,
    change: &mut Mutation<'_>,
    before: &Installation,
    reason: Option<&str>,
) -> Result<Option<Installation>> {
    let (now, by) = (change.now, change.by());
    if !installations::roll_back(&mut change.tx, &before.plugin, before.version_id, reason, now, by).await? {
        return Ok(None);
    }
    let mut after = installations::by_plugin(&mut change.tx, &before.plugin).await?.ok_or_else(gone)?;
    let loaded = platform.catalog.load(&mut change.tx, &after).await?;
    if !loaded.takes_settings(&after.settings) {
        installations::restore_settings(&mut change.tx, &before.plugin).await?;
        after = installations::by_plugin(&mut change.tx, &before.plugin).await?.ok_or_else(gone)?;
    }
    schedules::install(platform, &mut change.tx, &loaded.descriptor, now).await?;
    upgrade::let_go(&mut change.tx, &loaded).await?;
    indexes::settle(platform, change, &mut after, &loaded.descriptor).await?;
    if after.state == "enabled" {
        tell(platform, change, &loaded.descriptor, &Step::Upgraded(before.version.clone()));
    }
    change.note(changed("plugin.rolled_back", Some(before), &after, &[]));
    Ok(Some(after))
}

/// Let a plugin rest that keeps failing: nothing of it runs, events wait for it.
pub(crate) async fn pause_by_host(
    platform: &Platform,
    tenant: TenantId,
    failing: &Installation,
    reason: &str,
) -> Result<()> {
    let principal = Principal::system(tenant, Origin::default());
    let mut change = Mutation::begin(platform, &principal).await?;
    let now = change.now;
    if installations::pause(&mut change.tx, &failing.plugin, failing.version_id, reason, now).await? {
        tracing::warn!(%tenant, plugin = failing.plugin, reason, "a plugin was paused");
        let after = Installation { state: "paused".to_owned(), reason: Some(reason.to_owned()), ..failing.clone() };
        change.note(changed("plugin.paused", Some(failing), &after, &[]));
        return change.finish(()).await;
    }
    Ok(())
}

/// Let a plugin that the host paused run again.
pub async fn resume(platform: &Platform, principal: &Principal, plugin: &str) -> Result<InstallationView> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = installations::hold(&mut change.tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    if before.state != "paused" {
        return Err(ServiceError::Conflict("not_paused", format!("the plugin is {}", before.state)));
    }
    let (now, by) = (change.now, change.by());
    installations::resume(&mut change.tx, plugin, now, by).await?;
    let after = installations::by_plugin(&mut change.tx, plugin).await?.ok_or_else(gone)?;
    change.note(changed("plugin.resumed", Some(&before), &after, &[]));
    let loaded = platform.catalog.load(&mut change.tx, &after).await?;
    let view = view(&mut change.tx, after, &loaded).await?;
    change.finish(view).await
}

/// Uninstall a plugin: its grants, settings, secrets, schedules and waiting jobs go, its data
/// stays.
pub async fn uninstall(platform: &Platform, principal: &Principal, plugin: &str) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = installations::hold(&mut change.tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let now = change.now;
    installations::delete(&mut change.tx, plugin).await?;
    plugin_secrets::delete_all(&mut change.tx, plugin).await?;
    purlin_store::schedules::delete_all(&mut change.tx, plugin).await?;
    cancel_some(&mut change.tx, plugin, now).await?;
    change.note(changed("plugin.uninstalled", Some(&before), &before, &[]));
    // Where very many wait, the rest is cancelled bit by bit.
    change.enqueue(purge_job(platform, plugin, false, now));
    change.finish(()).await
}

/// What a purge would erase.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Purge {
    /// The plugin.
    pub plugin: String,
    /// Records, by collection.
    pub records: Vec<RecordsOf>,
    /// Files.
    pub files: i64,
    /// Their bytes.
    pub file_bytes: i64,
    /// Waiting jobs and dead letters.
    pub jobs: i64,
}

/// What a purge would erase.
pub async fn purge_preview(platform: &Platform, principal: &Principal, plugin: &str) -> Result<Purge> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let records = plugin_data::records(&mut tx, plugin).await?;
    let (files, file_bytes) = plugin_files::size(&mut tx, plugin).await?;
    let jobs = plugin_data::jobs(&mut tx, plugin).await?;
    let is_installed = installations::by_plugin(&mut tx, plugin).await?.is_some();
    if !is_installed && records.is_empty() && files + jobs == 0 {
        return Err(ServiceError::NotFound);
    }
    Ok(Purge { plugin: plugin.to_owned(), records, files, file_bytes, jobs })
}

/// That it is meant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmPurge {
    /// The name of the plugin, once more.
    pub confirm: String,
}

/// Erase all data of a plugin that does not run; the id of the job that does it.
pub async fn purge(
    platform: &Platform,
    principal: &Principal,
    plugin: &str,
    confirm: &ConfirmPurge,
) -> Result<Enqueued> {
    let preview = purge_preview(platform, principal, plugin).await?;
    if confirm.confirm != plugin {
        return Err(ServiceError::invalid("/confirm", "confirm", "repeat the name of the plugin"));
    }
    let mut change = Mutation::begin(platform, principal).await?;
    let present = installations::hold(&mut change.tx, plugin).await?;
    if present.is_some_and(|installation| installation.state != "disabled") {
        return Err(ServiceError::Conflict("enabled", "disable or uninstall the plugin first".to_owned()));
    }
    let job = purge_job(platform, plugin, true, change.now);
    let id = job.id;
    change.enqueue(job);
    change.note(Change {
        what: "plugin.purged",
        resource_type: "installation",
        id: plugin.to_owned(),
        changes: json!({ "records": { "before": preview.records, "after": null },
            "files": { "before": preview.files, "after": null } }),
        data: Some(json!({ "plugin": plugin })),
    });
    change.finish(Enqueued { id }).await
}

/// What a job that erases is about.
#[derive(Serialize, Deserialize)]
struct Erase {
    plugin: String,
    /// Whether data goes too, not only jobs that wait.
    data: bool,
}

fn purge_job(platform: &Platform, plugin: &str, data: bool, now: Timestamp) -> NewJob {
    NewJob::new(platform.id(), PURGE, json!(Erase { plugin: plugin.to_owned(), data }), now)
}

async fn cancel_some(tx: &mut TenantTx, plugin: &str, now: Timestamp) -> Result<usize> {
    let waiting = plugin_data::waiting_jobs(tx, plugin, ERASED_AT_ONCE).await?;
    for id in &waiting {
        jobs::cancel(tx, *id, Some(plugin), now).await?;
    }
    Ok(waiting.len())
}

/// Erase bit by bit. One that was enabled again meanwhile keeps the rest. Whether the claim
/// still held.
pub(crate) async fn run_purge(
    platform: &Arc<Platform>,
    claimed: &Claimed,
) -> Result<std::result::Result<bool, Failure>> {
    let Erase { plugin, data } =
        Erase::deserialize(claimed.payload.as_ref().unwrap_or(&Json::Null)).map_err(ServiceError::internal)?;
    let tenant = claimed.tenant_id;
    loop {
        let mut tx = platform.db.write(tenant).await?;
        let present = installations::hold(&mut tx, &plugin).await?;
        if present.is_some_and(|installation| installation.state != "disabled") {
            return Ok(Err(Failure::Reject("the plugin was enabled meanwhile; what was left stays".to_owned())));
        }
        let now = platform.now();
        let mut count = cancel_some(&mut tx, &plugin, now).await?;
        let mut contents = Vec::new();
        let held = if data { record_references::erase(&mut tx, &plugin, ERASED_AT_ONCE).await? } else { 0 };
        count += usize::try_from(held).unwrap_or(0);
        // Records go once none of them refers to another.
        if data && held == 0 {
            count += usize::try_from(plugin_data::erase_records(&mut tx, &plugin, ERASED_AT_ONCE).await?).unwrap_or(0);
            let files = plugin_files::list(&mut tx, &plugin, "", "", ERASED_AT_ONCE).await?;
            for file in &files {
                plugin_files::delete(&mut tx, &plugin, &file.key).await?;
            }
            count += files.len();
            contents.extend(files.into_iter().map(|file| file.id));
        }
        if count == 0 {
            if data {
                plugin_data::erase_rest(&mut tx, &plugin).await?;
                plugin_secrets::delete_all(&mut tx, &plugin).await?;
            }
            let outcome = Outcome::Succeeded { result: None, progress: None };
            let lane = claimed.ordering_key.as_deref();
            let held = jobs::finish(&mut tx, claimed.fence(), lane, &outcome, now).await?;
            tx.commit().await?;
            return Ok(Ok(held));
        }
        tx.commit().await?;
        forget_contents(platform, tenant, contents);
    }
}
