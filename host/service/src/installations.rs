//! Switching plugins on and off in a tenant, with consent.

mod life;
mod upgrade;

use std::collections::BTreeMap;

use purlin_domain::{
    Json, Timestamp,
    access::{Permission, PermissionSet},
    audit::difference,
    descriptor::{Descriptor, Secret, StepKind},
    error::Violation,
    guest::Step,
    id::{TenantId, VersionId},
    principal::Principal,
};
use purlin_store::{
    TenantTx,
    installations::{self, Agreed, Installation},
    plugin_secrets, plugins, tenants, usage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError, access,
    catalog::{self, Enabled, Loaded},
    change::{Change, Mutation},
    indexes, lifecycle, schedules,
};

pub use life::{ConfirmPurge, Purge, purge, purge_preview, resume, roll_back, uninstall};
pub(crate) use life::{PURGE, pause_by_host, roll_back_by_host, run_purge};
pub use upgrade::{RollbackPreview, StepView, roll_back_preview};

/// What a tenant's administrator agrees to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// The plugin.
    pub plugin: String,
    /// The version. When missing, the one that is installed; the highest, where none is.
    pub version: Option<String>,
    /// What is granted: a list of permissions, or `"all"` for exactly those that the version requests.
    /// When missing, what was granted before, as far as the version requests it; a plugin that was
    /// never enabled has to be told.
    pub grants: Option<Grants>,
    /// What is set, in the place of all that was. When missing, what was set before.
    pub settings: Option<Json>,
    /// Secrets to set, by name, beside those that are set.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretText>,
}

/// What is granted to a plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Grants {
    /// Exactly what the version requests.
    All(AllRequested),
    /// These permissions.
    These(PermissionSet),
}

/// The word for everything that a version requests.
#[derive(Debug, Deserialize, JsonSchema)]
pub enum AllRequested {
    /// `all`.
    #[serde(rename = "all")]
    All,
}

/// The value of a secret: 1 to 16,384 bytes.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecretText(String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// A new value of a secret.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// The value.
    pub value: SecretText,
}

const SECRET_BYTES_MAX: usize = 16 << 10;

/// A secret that the version reads.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When it was last set; null while it is not.
    pub set_at: Option<Timestamp>,
}

/// An installation, and what its version asks for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InstallationView {
    /// The installation.
    #[serde(flatten)]
    pub installation: Installation,
    /// What it asks for; what is not among the grants is refused to it.
    pub asks_for: Vec<Permission>,
    /// What of it is not granted.
    pub not_granted: Vec<Permission>,
    /// The JSON Schema of its settings; null when it has none.
    pub settings_schema: Option<Json>,
    /// The secrets it reads, and which of them are set.
    pub secrets: Vec<SecretView>,
    /// The last step in its life that it was told of, and how far it is with it; null where it
    /// was told of none, or that is forgotten.
    pub last_step: Option<StepView>,
}

/// Enable a plugin, or change the version, the grants or the settings of an enabled one.
pub async fn enable(platform: &Platform, principal: &Principal, consent: Consent) -> Result<InstallationView> {
    let by = principal.actor.user();
    let present = installations::by_plugin(&mut platform.db.read(principal.tenant).await?, &consent.plugin).await?;
    let loaded = wanted(platform, &consent, present.as_ref()).await?;
    let descriptor = &loaded.descriptor;
    let asks_for = descriptor.asks_for();
    let settings =
        consent.settings.or_else(|| present.as_ref().map(|i| i.settings.clone())).unwrap_or_else(|| json!({}));
    check_settings(platform, principal.tenant, &loaded, &settings).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let before = installations::hold(&mut change.tx, &consent.plugin).await?;
    if before.as_ref().map(agreed_to) != present.as_ref().map(agreed_to) {
        return Err(changed_meanwhile());
    }
    if let Some(before) = before.as_ref().filter(|before| before.version_id != loaded.version) {
        let running = platform.catalog.load(&mut change.tx, before).await?;
        upgrade::check_records(&running, &loaded).map_err(|error| error.within("/version"))?;
        upgrade::let_go(&mut change.tx, &loaded).await?;
    }
    let grants = match (consent.grants, &before) {
        (Some(Grants::These(grants)), _) => grants,
        (Some(Grants::All(AllRequested::All)), _) => PermissionSet(asks_for.clone()),
        (None, Some(present)) => kept(present, &asks_for)?,
        (None, None) => return Err(no_consent(&asks_for)),
    };
    check_grants(principal, &grants, &asks_for)?;
    let grants = serde_json::to_value(&grants).map_err(ServiceError::internal)?;
    let (id, now) = (platform.clock.id(), change.now);
    let agreed = Agreed { plugin: &consent.plugin, version: loaded.version, grants: &grants, settings: &settings };
    installations::enable(&mut change.tx, id, agreed, now, by).await?;
    if before.as_ref().is_none_or(|before| before.state != "enabled") {
        within_plan(platform, &mut change.tx).await?;
    }
    let mut secrets: Vec<&str> = Vec::new();
    for (name, value) in &consent.secrets {
        keep_secret(platform, &mut change, &loaded, name, value).await.map_err(|error| error.within("/secrets"))?;
        secrets.push(name);
    }
    schedules::install(platform, &mut change.tx, descriptor, now).await?;
    let mut after = installations::by_plugin(&mut change.tx, &consent.plugin).await?.ok_or_else(gone)?;
    indexes::settle(platform, &mut change, &mut after, descriptor).await?;
    if let Some(step) = step(before.as_ref(), &after, !secrets.is_empty()) {
        tell(platform, &mut change, descriptor, &step);
    }
    change.note(changed("plugin.enabled", before.as_ref(), &after, &secrets));
    let view = view(&mut change.tx, after, &loaded).await?;
    change.finish(view).await
}

/// What a change of an installation is decided by.
fn agreed_to(installation: &Installation) -> (VersionId, &Json, &Json) {
    (installation.version_id, &installation.grants, &installation.settings)
}

fn changed_meanwhile() -> ServiceError {
    ServiceError::Conflict("conflict", "somebody else changed this installation at the same moment".to_owned())
}

/// Nothing is granted by silence.
fn no_consent(asks_for: &[Permission]) -> ServiceError {
    let list: Vec<String> = asks_for.iter().map(Permission::to_string).collect();
    let list = if list.is_empty() { "nothing".to_owned() } else { list.join(", ") };
    let why = format!("say which permissions are granted, or \"all\"; the plugin requests {list}");
    ServiceError::invalid("/grants", "required", why)
}

/// Set what a plugin's administrators set, in the place of all that was.
pub async fn configure(
    platform: &Platform,
    principal: &Principal,
    plugin: &str,
    settings: Json,
) -> Result<InstallationView> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let present = installations::by_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let loaded = platform.catalog.load(&mut tx, &present).await?;
    drop(tx);
    let checked = check_settings(platform, principal.tenant, &loaded, &settings).await;
    checked.map_err(|error| error.beyond("/settings"))?;
    let mut change = Mutation::begin(platform, principal).await?;
    let before = installations::hold(&mut change.tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    if before.version_id != present.version_id {
        return Err(changed_meanwhile());
    }
    let now = change.now;
    installations::configure(&mut change.tx, plugin, &settings, now, principal.actor.user()).await?;
    let after = installations::by_plugin(&mut change.tx, plugin).await?.ok_or_else(gone)?;
    if before.settings != after.settings {
        configured(platform, &mut change, &loaded, &before, &after, &[]);
    }
    let view = view(&mut change.tx, after, &loaded).await?;
    change.finish(view).await
}

/// Set a secret.
pub async fn set_secret(
    platform: &Platform,
    principal: &Principal,
    plugin: &str,
    name: &str,
    secret: NewSecret,
) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let installation = installations::hold(&mut change.tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let loaded = platform.catalog.load(&mut change.tx, &installation).await?;
    if loaded.descriptor.secrets.iter().all(|secret| secret.name != name) {
        return Err(ServiceError::NotFound);
    }
    let kept = keep_secret(platform, &mut change, &loaded, name, &secret.value).await;
    kept.map_err(|error| error.beyond(&format!("/{name}")).within("/value"))?;
    configured(platform, &mut change, &loaded, &installation, &installation, &[name]);
    change.finish(()).await
}

/// Forget a secret.
pub async fn delete_secret(platform: &Platform, principal: &Principal, plugin: &str, name: &str) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let installation = installations::hold(&mut change.tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let loaded = platform.catalog.load(&mut change.tx, &installation).await?;
    if !plugin_secrets::delete(&mut change.tx, plugin, name).await? {
        return Err(ServiceError::NotFound);
    }
    configured(platform, &mut change, &loaded, &installation, &installation, &[name]);
    change.finish(()).await
}

/// What a secret is sealed under.
pub(crate) fn secret_context(tenant: TenantId, plugin: &str, name: &str) -> String {
    format!("secret {name} of {plugin} in {tenant}")
}

async fn keep_secret(
    platform: &Platform,
    change: &mut Mutation<'_>,
    loaded: &Loaded,
    name: &str,
    SecretText(value): &SecretText,
) -> Result<()> {
    let plugin = &loaded.descriptor.name;
    if loaded.descriptor.secrets.iter().all(|secret| secret.name != name) {
        return Err(ServiceError::invalid(
            &format!("/{name}"),
            "undeclared",
            "the plugin reads no secret of this name",
        ));
    }
    if !(1..=SECRET_BYTES_MAX).contains(&value.len()) {
        return Err(ServiceError::invalid(&format!("/{name}"), "length", format!("1 to {SECRET_BYTES_MAX} bytes")));
    }
    let tenant = change.tx.tenant();
    let sealed = platform.secrets.seal(&secret_context(tenant, plugin, name), value.as_bytes())?;
    let (now, by) = (change.now, change.by());
    Ok(plugin_secrets::set(&mut change.tx, plugin, name, sealed, now, by).await?)
}

async fn check_settings(platform: &Platform, tenant: TenantId, loaded: &Loaded, settings: &Json) -> Result<()> {
    if !settings.is_object() {
        return Err(ServiceError::invalid("/settings", "type", "an object is needed"));
    }
    if settings.to_string().len() > SETTINGS_BYTES_MAX {
        return Err(ServiceError::invalid("/settings", "length", format!("at most {SETTINGS_BYTES_MAX} bytes")));
    }
    let wrong = loaded.settings_violations(platform, tenant, settings).await?;
    if wrong.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(wrong).within("/settings")) }
}

const SETTINGS_BYTES_MAX: usize = 64 << 10;

fn gone() -> ServiceError {
    ServiceError::internal("the installation is gone")
}

/// What a change of an installation is for its plugin; nothing, where only grants changed.
fn step(before: Option<&Installation>, after: &Installation, has_secrets: bool) -> Option<Step> {
    match before {
        Some(before) if before.version_id != after.version_id => Some(Step::Upgraded(before.version.clone())),
        Some(before) if before.state == "enabled" => {
            (before.settings != after.settings || has_secrets).then_some(Step::Configured)
        }
        _ => Some(Step::Enabled),
    }
}

/// Tell the plugin of a step, where it wants to know.
fn tell(platform: &Platform, change: &mut Mutation<'_>, descriptor: &Descriptor, step: &Step) {
    let kind = match step {
        Step::Enabled => StepKind::Enabled,
        Step::Upgraded(_) => StepKind::Upgraded,
        Step::Configured => StepKind::Configured,
    };
    if descriptor.is_told_of(kind) {
        let job = lifecycle::job(platform, &descriptor.name, step, 0, change.now);
        change.enqueue_for(descriptor.name.clone(), job);
    }
}

/// Note that settings or secrets changed, and tell the plugin.
fn configured(
    platform: &Platform,
    change: &mut Mutation<'_>,
    loaded: &Loaded,
    before: &Installation,
    after: &Installation,
    secrets: &[&str],
) {
    if after.state == "enabled" {
        tell(platform, change, &loaded.descriptor, &Step::Configured);
    }
    change.note(changed("plugin.configured", Some(before), after, secrets));
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
        change.note(changed("plugin.disabled", Some(&before), &after, &[]));
    }
    change.finish(()).await
}

/// The tenant's enabled plugins, as they describe themselves.
pub async fn enabled(platform: &Platform, principal: &Principal) -> Result<Vec<Enabled>> {
    catalog::enabled(platform, &mut platform.db.read(principal.tenant).await?).await
}

/// The tenant's plugins.
pub async fn list(platform: &Platform, principal: &Principal) -> Result<Vec<InstallationView>> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let mut views = Vec::new();
    for installation in installations::list(&mut tx).await? {
        let loaded = platform.catalog.load(&mut tx, &installation).await?;
        views.push(view(&mut tx, installation, &loaded).await?);
    }
    Ok(views)
}

/// The tenant's installation of a plugin.
pub async fn get(platform: &Platform, principal: &Principal, plugin: &str) -> Result<InstallationView> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let installation = installations::by_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let loaded = platform.catalog.load(&mut tx, &installation).await?;
    view(&mut tx, installation, &loaded).await
}

async fn view(tx: &mut TenantTx, mut installation: Installation, loaded: &Loaded) -> Result<InstallationView> {
    let descriptor = &loaded.descriptor;
    let asks_for = descriptor.asks_for();
    let grants: PermissionSet = serde_json::from_value(installation.grants.clone()).map_err(ServiceError::internal)?;
    let not_granted = asks_for.iter().filter(|asked| !grants.allows(asked)).cloned().collect();
    let set = plugin_secrets::list(tx, &installation.plugin).await?;
    let secret = |secret: &Secret| SecretView {
        name: secret.name.clone(),
        description: secret.description.clone(),
        set_at: set.iter().find(|set| set.name == secret.name).map(|set| set.updated_at),
    };
    let secrets = descriptor.secrets.iter().map(secret).collect();
    let last_step = upgrade::last_step(tx, &installation.plugin).await?;
    if installation.reason.is_none() {
        installation.reason = last_step.as_ref().and_then(StepView::failure);
    }
    let settings_schema = descriptor.settings.clone();
    Ok(InstallationView { installation, asks_for, not_granted, settings_schema, secrets, last_step })
}

/// The version meant, and what it says of itself.
async fn wanted(platform: &Platform, consent: &Consent, present: Option<&Installation>) -> Result<Loaded> {
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
    Loaded::read(version)
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

fn changed(what: &'static str, before: Option<&Installation>, after: &Installation, secrets: &[&str]) -> Change {
    let shown = |i: &Installation| json!({ "version": i.version, "state": i.state, "grants": i.grants, "settings": i.settings });
    let mut changes = difference(&before.map_or(Json::Null, shown), &shown(after));
    if !secrets.is_empty()
        && let Some(changes) = changes.as_object_mut()
    {
        // Which were set, not to what.
        changes.insert("secrets".to_owned(), json!({ "before": null, "after": secrets }));
    }
    Change {
        what,
        resource_type: "installation",
        id: after.plugin.clone(),
        changes,
        data: Some(json!({ "plugin": after.plugin, "version": after.version })),
    }
}
