//! Uploading plugins, and what is on offer.

use std::pin::Pin;

use purlin_domain::{
    Json, access::Permission, audit::AuditEntry, descriptor::Descriptor, error::Violation, limits::COMPONENT_BYTES_MAX,
    principal::Principal,
};
use purlin_store::{
    StoreError, permissions,
    plugins::{self, Plugin, Version},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::{Platform, Result, ServiceError, access, audit, catalog, catalog::Loaded, publishers, schedules};

/// What a look into a component found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// BLAKE3 of its bytes, in hex.
    pub digest: String,
    /// What its `describe` returned.
    pub descriptor: Json,
    /// Size, imports, how long it took to compile and to start.
    pub report: Json,
}

/// Looks into an uploaded component: compiles it apart from the host, checks its imports,
/// asks it to describe itself. The violations say why it is refused.
pub trait Inspect: Send + Sync {
    /// Look into this one.
    fn inspect(
        &self,
        component: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<Inspection, InspectError>> + Send + '_>>;
}

/// Why a component was not inspected, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It is not acceptable.
    #[error("{}", purlin_domain::error::summary(.0))]
    Refused(Vec<Violation>),
    /// The host could not look.
    #[error("{0}")]
    Failed(String),
}

/// A plugin and its versions.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PluginWithVersions {
    /// The plugin.
    #[serde(flatten)]
    pub plugin: Plugin,
    /// Its versions, the newest upload first.
    pub versions: Vec<VersionSummary>,
}

/// A version, and what it requests of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VersionView {
    /// The version.
    #[serde(flatten)]
    pub version: Version,
    /// The permissions that a tenant is asked to grant.
    pub requested_permissions: Vec<Permission>,
}

impl VersionView {
    /// The same of a stored version.
    pub fn of(version: Version) -> Result<Self> {
        let descriptor: Descriptor =
            serde_json::from_value(version.descriptor.clone()).map_err(ServiceError::internal)?;
        Ok(Self { requested_permissions: descriptor.asks_for(), version })
    }
}

/// A version in short.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VersionSummary {
    /// The version, by Semantic Versioning.
    pub version: String,
    /// BLAKE3 of the component, in hex.
    pub digest: String,
    /// When it was uploaded.
    pub created_at: purlin_domain::Timestamp,
}

/// Take in a component. The same version with the same bytes is no change; with other
/// bytes it is refused, and where the plugin has a publisher so is what they did not sign.
/// Whether it is new is told too.
pub async fn upload(
    platform: &Platform,
    principal: &Principal,
    component: Vec<u8>,
    signature: Option<&str>,
) -> Result<(Version, bool)> {
    access::require_operator(principal)?;
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(ServiceError::invalid(
            "",
            "size",
            format!("a component takes at most {COMPONENT_BYTES_MAX} bytes"),
        ));
    }
    let inspection = platform.inspector.inspect(component.clone()).await.map_err(|error| match error {
        InspectError::Refused(violations) => ServiceError::Invalid(violations),
        InspectError::Failed(why) => ServiceError::Internal(why),
    })?;
    let descriptor: Descriptor = serde_json::from_value(inspection.descriptor.clone())
        .map_err(|error| ServiceError::invalid("/descriptor", "shape", error.to_string()))?;
    let wrong = schedules::violations(&descriptor, platform.now());
    let sound = if wrong.is_empty() { Loaded::build(platform.id(), inspection.digest, descriptor) } else { Err(wrong) };
    let loaded = sound.map_err(|wrong| {
        ServiceError::Invalid(
            wrong.into_iter().map(|v| Violation { pointer: format!("/descriptor{}", v.pointer), ..v }).collect(),
        )
    })?;
    let signed_by = publishers::check(platform, &loaded.descriptor.name, &component, signature).await?;
    if let Some(known) = known_version(platform, &loaded).await? {
        return Ok((known, false));
    }
    let mut report = inspection.report;
    if let Some(report) = report.as_object_mut() {
        report.insert("signed_by".to_owned(), json!(signed_by));
    }
    let version = store(platform, principal, &loaded, component, inspection.descriptor, report).await?;
    Ok((version, true))
}

async fn known_version(platform: &Platform, loaded: &Loaded) -> Result<Option<Version>> {
    let descriptor = &loaded.descriptor;
    let mut tx = platform.db.platform_read().await?;
    match plugins::version(&mut tx, &descriptor.name, &descriptor.version.to_string()).await? {
        Some(known) if known.digest == loaded.digest => Ok(Some(known)),
        Some(_) => Err(version_taken(descriptor)),
        None => Ok(None),
    }
}

fn version_taken(descriptor: &Descriptor) -> ServiceError {
    let Descriptor { name, version, .. } = descriptor;
    ServiceError::Conflict(
        "version_taken",
        format!("{name} {version} was uploaded with other bytes; a version never changes, so raise it"),
    )
}

async fn store(
    platform: &Platform,
    principal: &Principal,
    loaded: &Loaded,
    component: Vec<u8>,
    document: Json,
    report: Json,
) -> Result<Version> {
    let now = platform.now();
    let descriptor = &loaded.descriptor;
    let plugin = Plugin {
        name: descriptor.name.clone(),
        title: descriptor.title.clone(),
        description: descriptor.description.clone(),
        created_at: now,
        updated_at: now,
    };
    let version = Version {
        id: loaded.version,
        plugin: descriptor.name.clone(),
        version: descriptor.version.to_string(),
        digest: loaded.digest.clone(),
        descriptor: document,
        report,
        created_at: now,
    };
    let mut tx = platform.db.platform().await?;
    plugins::upsert(&mut tx, platform.clock.id(), &plugin).await?;
    match plugins::insert_version(&mut tx, &version, component, principal.actor.user().map(|u| u.0)).await {
        Err(StoreError::Taken(_)) => return Err(version_taken(descriptor)),
        done => done?,
    }
    for permission in catalog::permissions_of(platform, descriptor) {
        permissions::ensure(&mut tx, &permission, now).await?;
    }
    let entry = AuditEntry {
        action: "plugin.uploaded".to_owned(),
        resource_type: "plugin".to_owned(),
        resource_id: Some(version.plugin.clone()),
        changes: json!({ "version": { "before": null, "after": version.version }, "digest": { "before": null, "after": version.digest } }),
    };
    audit::append_platform(platform, &mut tx, principal, entry, now).await?;
    tx.commit().await?;
    Ok(version)
}

/// Every plugin on offer.
pub async fn list(platform: &Platform) -> Result<Vec<Plugin>> {
    Ok(plugins::list(&mut platform.db.platform_read().await?).await?)
}

/// A plugin and its versions.
pub async fn get(platform: &Platform, name: &str) -> Result<PluginWithVersions> {
    let mut tx = platform.db.platform_read().await?;
    let plugin = plugins::by_name(&mut tx, name).await?.ok_or(ServiceError::NotFound)?;
    let versions = plugins::versions(&mut tx, name).await?;
    let summary = |v: Version| VersionSummary { version: v.version, digest: v.digest, created_at: v.created_at };
    Ok(PluginWithVersions { plugin, versions: versions.into_iter().map(summary).collect() })
}

/// One version of a plugin.
pub async fn version(platform: &Platform, name: &str, version: &str) -> Result<Version> {
    let mut tx = platform.db.platform_read().await?;
    plugins::version(&mut tx, name, version).await?.ok_or(ServiceError::NotFound)
}

/// The bytes of a component, for a host that has not compiled it yet.
pub async fn component(platform: &Platform, digest: &str) -> Result<Vec<u8>> {
    let mut tx = platform.db.platform_read().await?;
    plugins::component(&mut tx, digest).await?.ok_or(ServiceError::NotFound)
}
