//! Switching plugins on and off in a tenant, with consent.

use purlin_domain::{
    Json,
    access::{Permission, PermissionSet},
    audit::difference,
    descriptor::Descriptor,
    error::Violation,
    id::VersionId,
    principal::Principal,
};
use purlin_store::{
    TenantTx,
    installations::{self, Installation},
    plugins, tenants, usage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError, access,
    change::{Change, Mutation},
    schedules,
};

/// What a tenant's administrator agrees to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// The plugin.
    pub plugin: String,
    /// The version. When missing, the one that is installed; the highest, where none is.
    pub version: Option<String>,
    /// What is granted. When missing, what was granted before, as far as the version asks
    /// for it; everything it asks for, where it was not installed.
    pub grants: Option<PermissionSet>,
}

/// An installation, and what its version asks for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InstallationView {
    /// The installation.
    #[serde(flatten)]
    pub installation: Installation,
    /// What it asks for; what is not among the grants is refused to it.
    pub asks_for: Vec<Permission>,
}

/// Enable a plugin, or change the version or the grants of an enabled one.
pub async fn enable(platform: &Platform, principal: &Principal, consent: Consent) -> Result<InstallationView> {
    let by = principal.actor.user();
    let present = installations::by_plugin(&mut platform.db.read(principal.tenant).await?, &consent.plugin).await?;
    let (version_id, descriptor) = wanted(platform, &consent, present.as_ref()).await?;
    let asks_for = descriptor.asks_for();
    let mut change = Mutation::begin(platform, principal).await?;
    let before = installations::hold(&mut change.tx, &consent.plugin).await?;
    if before.as_ref().map(|i| (i.version_id, &i.grants)) != present.as_ref().map(|i| (i.version_id, &i.grants)) {
        return Err(ServiceError::Conflict(
            "conflict",
            "somebody else changed this installation at the same moment".to_owned(),
        ));
    }
    let grants = match (consent.grants, &before) {
        (Some(grants), _) => grants,
        (None, Some(present)) => kept(present, &asks_for)?,
        (None, None) => PermissionSet(asks_for.clone()),
    };
    check_grants(principal, &grants, &asks_for)?;
    let document = serde_json::to_value(&grants).map_err(ServiceError::internal)?;
    let (id, now) = (platform.clock.id(), change.now);
    installations::enable(&mut change.tx, id, &consent.plugin, version_id, &document, now, by).await?;
    if before.as_ref().is_none_or(|before| before.state != "enabled") {
        within_plan(platform, &mut change.tx).await?;
    }
    schedules::install(platform, &mut change.tx, &descriptor, now).await?;
    let after = installations::by_plugin(&mut change.tx, &consent.plugin)
        .await?
        .ok_or_else(|| ServiceError::internal("the installation is gone"))?;
    change.note(changed("plugin.enabled", before.as_ref(), &after));
    change.finish(InstallationView { installation: after, asks_for }).await
}

/// Refuse when the plan has no room for the plugins that are enabled now.
async fn within_plan(platform: &Platform, tx: &mut TenantTx) -> Result<()> {
    let tenant = tenants::hold(tx).await?.ok_or(ServiceError::NotFound)?;
    let Some(ceiling) = platform.settings.plans.get(&tenant.plan).plugins_max else { return Ok(()) };
    if usage::plugins(tx).await? > i64::try_from(ceiling).unwrap_or(i64::MAX) {
        return Err(ServiceError::Closed("plan_limit", "the tenant's plan has no room for another plugin"));
    }
    Ok(())
}

/// Disable a plugin: nothing of it runs, its data and its waiting jobs stay.
pub async fn disable(platform: &Platform, principal: &Principal, plugin: &str) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = installations::hold(&mut change.tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let now = change.now;
    if installations::disable(&mut change.tx, plugin, now, principal.actor.user()).await? {
        let after = Installation { state: "disabled".to_owned(), ..before.clone() };
        change.note(changed("plugin.disabled", Some(&before), &after));
    }
    change.finish(()).await
}

/// The tenant's plugins.
pub async fn list(platform: &Platform, principal: &Principal) -> Result<Vec<InstallationView>> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let mut views = Vec::new();
    for installation in installations::list(&mut tx).await? {
        views.push(view(platform, &mut tx, installation).await?);
    }
    Ok(views)
}

/// The tenant's installation of a plugin.
pub async fn get(platform: &Platform, principal: &Principal, plugin: &str) -> Result<InstallationView> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let installation = installations::by_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    view(platform, &mut tx, installation).await
}

async fn view(platform: &Platform, tx: &mut TenantTx, installation: Installation) -> Result<InstallationView> {
    let asks_for = platform.catalog.load(tx, &installation).await?.descriptor.asks_for();
    Ok(InstallationView { installation, asks_for })
}

/// The version meant, and what it says of itself.
async fn wanted(
    platform: &Platform,
    consent: &Consent,
    present: Option<&Installation>,
) -> Result<(VersionId, Descriptor)> {
    let missing = |pointer: &str, what: &str| {
        ServiceError::invalid(pointer, "unknown", format!("there is no such {what} on this host"))
    };
    let mut tx = platform.db.platform_read().await?;
    let named = consent.version.as_ref().or(present.map(|installation| &installation.version));
    let version = match named {
        Some(version) => plugins::version(&mut tx, &consent.plugin, version).await?,
        None => {
            let all = plugins::versions(&mut tx, &consent.plugin).await?;
            all.into_iter().max_by_key(|version| semver::Version::parse(&version.version).ok())
        }
    };
    let (pointer, what) = if named.is_some() { ("/version", "version") } else { ("/plugin", "plugin") };
    let version = version.ok_or_else(|| missing(pointer, what))?;
    let descriptor: Descriptor = serde_json::from_value(version.descriptor).map_err(ServiceError::internal)?;
    Ok((version.id, descriptor))
}

/// The grants of an installation that the version still asks for: consent is never widened
/// by silence.
fn kept(present: &Installation, asks_for: &[Permission]) -> Result<PermissionSet> {
    let grants: PermissionSet = serde_json::from_value(present.grants.clone()).map_err(ServiceError::internal)?;
    let asked = |grant: &Permission| asks_for.iter().any(|asked| asked.covers(grant));
    Ok(PermissionSet(grants.0.into_iter().filter(asked).collect()))
}

/// Nobody grants what was not asked for, nor what they lack themselves.
fn check_grants(principal: &Principal, grants: &PermissionSet, asks_for: &[Permission]) -> Result<()> {
    for (i, grant) in grants.0.iter().enumerate() {
        if !asks_for.iter().any(|asked| asked.covers(grant)) {
            let detail = format!("the plugin does not ask for {grant}");
            return Err(ServiceError::Invalid(vec![Violation::new(format!("/grants/{i}"), "not_asked", detail)]));
        }
        access::require(principal, grant)?;
    }
    Ok(())
}

fn changed(what: &'static str, before: Option<&Installation>, after: &Installation) -> Change {
    let shown = |i: &Installation| json!({ "version": i.version, "state": i.state, "grants": i.grants });
    Change {
        what,
        resource_type: "installation",
        id: after.plugin.clone(),
        changes: difference(&before.map_or(Json::Null, shown), &shown(after)),
        data: Some(json!({ "plugin": after.plugin, "version": after.version })),
    }
}
