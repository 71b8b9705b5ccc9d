//! Tenants: the caller's own, and for whoever runs the platform all of them.

use std::{collections::BTreeMap, sync::LazyLock};

use chrono_tz::Tz;
use purlin_domain::{
    Json, Timestamp,
    audit::difference,
    error::{Violation, summary},
    id::TenantId,
    principal::Principal,
    tenant::TenantStatus,
    text::is_plain_name,
};
use purlin_store::{StoreError, tenants, tenants::Tenant, usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError, access, audit,
    auth::title_violation,
    change::{Change, Mutation, conflict, expect},
    list::{ListPage, ListQuery, Prepared},
    schema::Schema,
    storage,
    users::present,
};

/// Bytes of settings at most.
const SETTINGS_BYTES_MAX: usize = 64 << 10;

/// The JSON Schema of a tenant's settings. What the platform itself reads is typed; what
/// applications keep beside it is theirs.
pub fn settings_schema() -> Json {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "locale": { "type": "string", "pattern": "^[a-z]{2,3}(-[A-Z]{2})?$", "description": "BCP 47: language, or language and region" },
            "time_zone": { "type": "string", "pattern": "^[A-Za-z0-9_+/-]{1,64}$", "description": "IANA name, such as Europe/Paris" },
            "currency": { "type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217" },
            "mail_sender_name": { "type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^\\r\\n<>\"]*$" },
        },
        "propertyNames": { "pattern": "^[a-z][a-z0-9_]{0,59}$" },
        "maxProperties": 100,
    })
}

/// The settings of a new tenant.
pub(crate) fn default_settings() -> Json {
    json!({ "locale": "en", "time_zone": "UTC" })
}

static SETTINGS: LazyLock<std::result::Result<Schema, Vec<Violation>>> =
    LazyLock::new(|| Schema::compile(&settings_schema()));

/// What a tenant's administrator may change of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTenant {
    /// Its name for people.
    pub name: Option<String>,
    /// The host name it is to be reached by, once whoever runs the platform approves it; null removes it.
    #[serde(default, deserialize_with = "present")]
    pub domain: Option<Option<String>>,
    /// A JSON Merge Patch (RFC 7396) of its settings.
    pub settings: Option<Json>,
}

/// What whoever runs the platform may change of a tenant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePlan {
    /// The plan.
    pub plan: String,
}

/// What a tenant uses of its plan.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// The plan.
    pub plan: String,
    /// Users who are not deleted.
    pub users: Used,
    /// Enabled plugins.
    pub plugins: Used,
    /// Bytes of record data.
    pub storage_bytes: Used,
    /// Bytes of everything beside records and files.
    pub other_bytes: Used,
    /// The same by what they are of: `audit`, `events`, `jobs`, `answers`, `logs`, and `state` for
    /// people, roles, keys, invitations, webhooks, plugins and settings.
    pub other_bytes_of: BTreeMap<String, i64>,
    /// Invocations of plugins that begin within one minute.
    pub invocations_per_minute: Ceiling,
    /// Days that rows of the audit log are kept; null for ever.
    pub audit_days: Option<u32>,
}

/// How much is used, of how much.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Used {
    /// Used now.
    pub used: i64,
    /// The ceiling; null for none.
    pub max: Option<u64>,
}

/// A ceiling on a rate.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ceiling {
    /// The ceiling; null for none.
    pub max: Option<u64>,
}

/// The caller's tenant.
pub async fn me(platform: &Platform, principal: &Principal) -> Result<Tenant> {
    let mut tx = platform.db.read(principal.tenant).await?;
    tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)
}

/// What the caller's tenant uses of its plan.
pub async fn usage_of_me(platform: &Platform, principal: &Principal) -> Result<Usage> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let tenant = tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)?;
    let plan = platform.settings.plans.get(&tenant.plan);
    let other_bytes_of = storage::other(platform, &mut tx, &plan).await?;
    Ok(Usage {
        plan: tenant.plan,
        users: Used { used: usage::users(&mut tx).await?, max: plan.users_max },
        plugins: Used { used: usage::plugins(&mut tx).await?, max: plan.plugins_max },
        storage_bytes: Used { used: usage::storage_bytes(&mut tx).await?, max: plan.storage_bytes_max },
        other_bytes: Used { used: other_bytes_of.values().sum(), max: plan.other_bytes_max },
        other_bytes_of,
        invocations_per_minute: Ceiling { max: plan.invocations_per_minute_max },
        audit_days: plan.audit_days,
    })
}

/// Change the caller's tenant.
pub async fn change_me(
    platform: &Platform,
    principal: &Principal,
    wanted: ChangeTenant,
    expected: Option<Timestamp>,
) -> Result<Tenant> {
    check(platform, &wanted)?;
    let mut change = Mutation::begin(platform, principal).await?;
    let before = tenants::hold(&mut change.tx).await?.ok_or(ServiceError::NotFound)?;
    expect(before.updated_at, expected)?;
    let mut after = before.clone();
    after.name = wanted.name.map_or(after.name, |name| name.trim().to_owned());
    after.domain = wanted.domain.map_or(after.domain, |domain| domain.map(|d| d.to_lowercase()));
    if after.domain != before.domain {
        after.domain_approved_at = None;
    }
    if let Some(patch) = wanted.settings {
        json_patch::merge(&mut after.settings, &patch);
        check_settings(&after.settings)?;
    }
    let shown = |tenant: &Tenant| json!({ "name": tenant.name, "domain": tenant.domain, "settings": tenant.settings });
    let changes = difference(&shown(&before), &shown(&after));
    if changes.as_object().is_none_or(serde_json::Map::is_empty) {
        return change.finish(before).await;
    }
    update(&mut change, &before, &mut after).await?;
    let data = Some(json!({ "id": after.id, "name": after.name }));
    change.note(Change { what: "tenant.updated", resource_type: "tenant", id: after.id.to_string(), changes, data });
    change.finish(after).await
}

pub(crate) async fn update(change: &mut Mutation<'_>, before: &Tenant, after: &mut Tenant) -> Result<()> {
    after.updated_at = change.after(before.updated_at);
    match tenants::update(&mut change.tx, after, before.updated_at).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(conflict()),
        Err(StoreError::Taken(_)) => {
            Err(ServiceError::Conflict("domain_taken", "this domain belongs to another tenant".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

fn check_settings(settings: &Json) -> Result<()> {
    if settings.to_string().len() > SETTINGS_BYTES_MAX {
        let why = format!("settings take at most {SETTINGS_BYTES_MAX} bytes");
        return Err(ServiceError::invalid("/settings", "size", why));
    }
    let schema = SETTINGS.as_ref().map_err(|wrong| ServiceError::internal(summary(wrong)))?;
    let mut wrong = schema.violations(settings);
    let zone = settings.get("time_zone").and_then(Json::as_str);
    if zone.is_some_and(|zone| zone.parse::<Tz>().is_err()) {
        wrong.push(Violation::new(
            "/time_zone",
            "format",
            "expected the name of an IANA time zone, such as Europe/Paris",
        ));
    }
    // It stands in mails to strangers.
    let sender = settings.get("mail_sender_name").and_then(Json::as_str);
    if sender.is_some_and(|sender| !is_plain_name(sender)) {
        wrong.push(Violation::new(
            "/mail_sender_name",
            "format",
            "use a plain name, without links or hidden characters",
        ));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let below = |v: Violation| Violation { pointer: format!("/settings{}", v.pointer), ..v };
    Err(ServiceError::Invalid(wrong.into_iter().map(below).collect()))
}

fn check(platform: &Platform, change: &ChangeTenant) -> Result<()> {
    let mut wrong = Vec::new();
    wrong.extend(change.name.as_deref().and_then(|name| title_violation("/name", name.trim())));
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
    // An address, or the name that everybody is served by, belongs to no tenant.
    let own = platform.settings.public_url.split("//").nth(1).and_then(|rest| rest.split(['/', ':']).next());
    let is_reserved =
        |d: &String| d.parse::<std::net::IpAddr>().is_ok() || own.is_some_and(|own| own.eq_ignore_ascii_case(d));
    if change.domain.as_ref().and_then(Option::as_ref).is_some_and(is_reserved) {
        wrong.push(Violation::new("/domain", "reserved", "this is an address, or a host name of the platform"));
    }
    if change.settings.as_ref().is_some_and(|settings| !settings.is_object()) {
        wrong.push(Violation::new("/settings", "type", "settings are an object"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(wrong)) }
}

/// A page of all tenants, for whoever runs the platform.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<Tenant>> {
    access::require_operator(principal)?;
    let prepared = Prepared::new(platform, principal.tenant, "tenants", &tenants::fields(), query)?;
    let page = tenants::list(&mut platform.db.platform_read().await?, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// One of all tenants.
pub async fn get(platform: &Platform, principal: &Principal, id: TenantId) -> Result<Tenant> {
    access::require_operator(principal)?;
    tenants::own(&mut platform.db.read(id).await?).await?.ok_or(ServiceError::NotFound)
}

pub(crate) const PLAN_CHANGED: &str = "tenant.plan_changed";

/// Put a tenant on another plan.
pub async fn change_plan(
    platform: &Platform,
    principal: &Principal,
    id: TenantId,
    wanted: &ChangePlan,
    expected: Option<Timestamp>,
) -> Result<Tenant> {
    if !platform.settings.plans.knows(&wanted.plan) {
        return Err(ServiceError::invalid("/plan", "unknown", "there is no such plan on this host"));
    }
    operate(platform, principal, id, PLAN_CHANGED, expected, |tenant| tenant.plan.clone_from(&wanted.plan)).await
}

/// A host name that a tenant claims.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveDomain {
    /// The host name, as the tenant has it.
    pub domain: String,
}

/// Let people sign in to a tenant by the host name that it claims.
pub async fn approve_domain(
    platform: &Platform,
    principal: &Principal,
    id: TenantId,
    wanted: &ApproveDomain,
) -> Result<Tenant> {
    let claimed = get(platform, principal, id).await?;
    if claimed.domain.as_ref() != Some(&wanted.domain) {
        return Err(ServiceError::invalid("/domain", "unclaimed", "the tenant does not claim this host name"));
    }
    let now = platform.now();
    operate(platform, principal, id, "tenant.domain_approved", Some(claimed.updated_at), |tenant| {
        tenant.domain_approved_at = tenant.domain_approved_at.or(Some(now));
    })
    .await
}

/// Suspend a tenant: its people, keys, jobs and plugins stop; its data stays.
pub async fn suspend(platform: &Platform, principal: &Principal, id: TenantId) -> Result<Tenant> {
    if id == principal.tenant {
        return Err(ServiceError::Conflict("own_tenant", "you cannot suspend the tenant you belong to".to_owned()));
    }
    let tenant =
        operate(platform, principal, id, "tenant.suspended", None, |t| t.status = TenantStatus::Suspended).await?;
    platform.suspended.notify_one();
    Ok(tenant)
}

/// Serve a suspended tenant again.
pub async fn activate(platform: &Platform, principal: &Principal, id: TenantId) -> Result<Tenant> {
    operate(platform, principal, id, "tenant.activated", None, |t| t.status = TenantStatus::Active).await
}

/// Change a tenant on behalf of the platform. The tenant's own log tells so.
async fn operate(
    platform: &Platform,
    principal: &Principal,
    id: TenantId,
    what: &'static str,
    expected: Option<Timestamp>,
    apply: impl FnOnce(&mut Tenant),
) -> Result<Tenant> {
    access::require_operator(principal)?;
    // Asked again, it changes nothing: it needs no key, whose answer would lie in another tenant.
    let there = Principal { tenant: id, idempotency: None, ..principal.clone() };
    let mut change = Mutation::begin(platform, &there).await?;
    let before = tenants::own(&mut change.tx).await?.ok_or(ServiceError::NotFound)?;
    expect(before.updated_at, expected)?;
    let mut after = before.clone();
    apply(&mut after);
    let shown = |tenant: &Tenant| json!({ "status": tenant.status, "plan": tenant.plan, "domain_approved_at": tenant.domain_approved_at });
    let changes = difference(&shown(&before), &shown(&after));
    let is_changed = changes.as_object().is_some_and(|changes| !changes.is_empty());
    if is_changed {
        update(&mut change, &before, &mut after).await?;
        let data = Some(json!({ "id": id, "status": after.status, "plan": after.plan }));
        change.note(Change { what, resource_type: "tenant", id: id.to_string(), changes, data });
    }
    // Also where it is the plan already, since it may have been put there past the host; and by nothing
    // else, which says nothing of the plan.
    if what == PLAN_CHANGED {
        audit::vouch_for_plan(platform, &mut change.tx, &after.plan).await?;
        if !is_changed {
            let changes = json!({ "plan": { "before": after.plan, "after": after.plan } });
            change.note(Change { what, resource_type: "tenant", id: id.to_string(), changes, data: None });
        }
    }
    let after = change.finish(after).await?;
    platform.storage.forget(id);
    Ok(after)
}

/// Tenants that are suspended now, so that what runs for them can be stopped.
pub async fn suspended(platform: &Platform) -> Result<Vec<TenantId>> {
    Ok(tenants::suspended(&mut platform.db.platform_read().await?).await?)
}
