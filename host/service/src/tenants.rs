//! The caller's tenant.

use purlin_domain::{Json, audit::difference, error::Violation, principal::Principal};
use purlin_store::{tenants, tenants::Tenant};
use serde::Deserialize;
use serde_json::json;

use crate::{
    Platform, Result, ServiceError,
    change::{self, Change},
    users::present,
};

/// Bytes of settings at most.
const SETTINGS_BYTES_MAX: usize = 64 << 10;

/// What a tenant's administrator may change of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeTenant {
    /// Its name for people.
    pub name: Option<String>,
    /// The host name it is reached by; null removes it.
    #[serde(default, deserialize_with = "present")]
    pub domain: Option<Option<String>>,
    /// A JSON Merge Patch (RFC 7396) of its settings.
    pub settings: Option<Json>,
}

/// The caller's tenant.
pub async fn me(platform: &Platform, principal: &Principal) -> Result<Tenant> {
    let mut tx = platform.db.read(principal.tenant).await?;
    tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)
}

/// Change the caller's tenant.
pub async fn change_me(platform: &Platform, principal: &Principal, wanted: ChangeTenant) -> Result<Tenant> {
    check(&wanted)?;
    let now = platform.now();
    let mut tx = platform.db.write(principal.tenant).await?;
    let before = tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)?;
    let mut after = before.clone();
    after.name = wanted.name.map_or(after.name, |name| name.trim().to_owned());
    after.domain = wanted.domain.map_or(after.domain, |domain| domain.map(|d| d.to_lowercase()));
    if let Some(patch) = wanted.settings {
        json_patch::merge(&mut after.settings, &patch);
    }
    if after.settings.to_string().len() > SETTINGS_BYTES_MAX {
        return Err(ServiceError::invalid(
            "/settings",
            "size",
            format!("settings take at most {SETTINGS_BYTES_MAX} bytes"),
        ));
    }
    let shown = |tenant: &Tenant| json!({ "name": tenant.name, "domain": tenant.domain, "settings": tenant.settings });
    let changes = difference(&shown(&before), &shown(&after));
    if changes.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(before);
    }
    after.updated_at = now;
    match tenants::update(&mut tx, &after, before.updated_at).await {
        Ok(true) => {}
        Ok(false) => {
            return Err(ServiceError::Conflict("conflict", "another request changed it at the same moment".to_owned()));
        }
        Err(purlin_store::StoreError::Taken(_)) => {
            return Err(ServiceError::Conflict("domain_taken", "this domain belongs to another tenant".to_owned()));
        }
        Err(error) => return Err(error.into()),
    }
    let data = json!({ "id": after.id, "name": after.name });
    let change = Change { what: "tenant.updated", resource_type: "tenant", id: after.id.to_string(), changes, data };
    change::tell(platform, &mut tx, principal, vec![change], now).await?;
    tx.commit().await?;
    platform.wake_workers();
    Ok(after)
}

fn check(change: &ChangeTenant) -> Result<()> {
    let mut wrong = Vec::new();
    if change.name.as_ref().is_some_and(|name| !(1..=100).contains(&name.trim().chars().count())) {
        wrong.push(Violation::new("/name", "length", "give a name of 1 to 100 characters"));
    }
    let is_host = |d: &String| {
        d.len() <= 253
            && d.contains('.')
            && d.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            })
    };
    if change.domain.as_ref().and_then(Option::as_ref).is_some_and(|domain| !is_host(domain)) {
        wrong.push(Violation::new("/domain", "format", "this is not a host name"));
    }
    if change.settings.as_ref().is_some_and(|settings| !settings.is_object()) {
        wrong.push(Violation::new("/settings", "type", "settings are an object"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(wrong)) }
}
