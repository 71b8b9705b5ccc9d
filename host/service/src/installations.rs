//! Switching plugins on and off in a tenant, with consent.

use purlin_domain::{
    Json,
    access::{Permission, PermissionSet},
    audit::difference,
    error::Violation,
    principal::Principal,
};
use purlin_store::{
    TenantTx,
    installations::{self, Installation},
    plugins,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError, access,
    change::{self, Change},
};

/// What a tenant's administrator agrees to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// The plugin.
    pub plugin: String,
    /// The version; the newest upload when missing.
    pub version: Option<String>,
    /// What is granted; everything it asks for when missing.
    pub grants: Option<PermissionSet>,
}

/// An installation, and what its version asks for.
#[derive(Debug, Serialize)]
pub struct InstallationView {
    /// The installation.
    #[serde(flatten)]
    pub installation: Installation,
    /// What it asks for; what is not among the grants is refused to it.
    pub asks_for: Vec<Permission>,
}

/// Enable a plugin, or change the version or the grants of an enabled one.
pub async fn enable(platform: &Platform, principal: &Principal, consent: Consent) -> Result<InstallationView> {
    let (version_id, asks_for) = wanted(platform, &consent).await?;
    let grants = consent.grants.unwrap_or_else(|| PermissionSet(asks_for.clone()));
    check_grants(principal, &grants, &asks_for)?;
    let document = serde_json::to_value(&grants).map_err(ServiceError::internal)?;
    let now = platform.now();
    let by = principal.actor.user();
    let mut tx = platform.db.write(principal.tenant).await?;
    let before = installations::by_plugin(&mut tx, &consent.plugin).await?;
    installations::enable(&mut tx, platform.clock.id(), &consent.plugin, version_id, &document, now, by).await?;
    let after = installations::by_plugin(&mut tx, &consent.plugin)
        .await?
        .ok_or_else(|| ServiceError::internal("the installation is gone"))?;
    tell(platform, &mut tx, principal, "plugin.enabled", before.as_ref(), &after).await?;
    tx.commit().await?;
    platform.wake_workers();
    Ok(InstallationView { installation: after, asks_for })
}

/// Disable a plugin: nothing of it runs, its data and its waiting jobs stay.
pub async fn disable(platform: &Platform, principal: &Principal, plugin: &str) -> Result<()> {
    let mut tx = platform.db.write(principal.tenant).await?;
    let before = installations::by_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    if installations::disable(&mut tx, plugin, platform.now(), principal.actor.user()).await? {
        let after = Installation { state: "disabled".to_owned(), ..before.clone() };
        tell(platform, &mut tx, principal, "plugin.disabled", Some(&before), &after).await?;
    }
    Ok(tx.commit().await?)
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

async fn wanted(platform: &Platform, consent: &Consent) -> Result<(purlin_domain::id::VersionId, Vec<Permission>)> {
    let missing = |pointer: &str, what: &str| {
        ServiceError::invalid(pointer, "unknown", format!("there is no such {what} on this host"))
    };
    let mut tx = platform.db.platform_read().await?;
    let version = match &consent.version {
        Some(version) => {
            plugins::version(&mut tx, &consent.plugin, version).await?.ok_or_else(|| missing("/version", "version"))?
        }
        None => plugins::versions(&mut tx, &consent.plugin)
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| missing("/plugin", "plugin"))?,
    };
    let descriptor: purlin_domain::descriptor::Descriptor =
        serde_json::from_value(version.descriptor).map_err(ServiceError::internal)?;
    Ok((version.id, descriptor.asks_for()))
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

async fn tell(
    platform: &Platform,
    tx: &mut TenantTx,
    principal: &Principal,
    what: &'static str,
    before: Option<&Installation>,
    after: &Installation,
) -> Result<()> {
    let shown = |i: &Installation| json!({ "version": i.version, "state": i.state, "grants": i.grants });
    let change = Change {
        what,
        resource_type: "installation",
        id: after.plugin.clone(),
        changes: difference(&before.map_or(Json::Null, shown), &shown(after)),
        data: json!({ "plugin": after.plugin, "version": after.version }),
    };
    change::tell(platform, tx, principal, vec![change], platform.now()).await
}
