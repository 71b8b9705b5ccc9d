//! Webhooks: events sent to where a tenant says, signed by Standard Webhooks.

mod deliver;
mod sign;

use chrono::TimeDelta;
use purlin_domain::{
    Json, Timestamp,
    access::Permission,
    audit::difference,
    error::Violation,
    event::NewEvent,
    job::{CORE, NewJob},
    pattern::Pattern,
    principal::Principal,
};
use purlin_store::{
    events::{self, Publish},
    jobs,
    jobs::JobSummary,
    tenants,
    webhooks::{self, Target, Webhook},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

pub(crate) use deliver::{ATTEMPTS, KIND, deliver};
pub use sign::sign;

use crate::{
    Platform, Result, ServiceError, access,
    change::{Change, Mutation, conflict, expect},
    jobs::backlog,
    list::{ListPage, ListQuery, Prepared},
    users::Enqueued,
};

/// Webhooks of a tenant at most.
const WEBHOOKS_MAX: i64 = 50;
const PATTERNS_MAX: usize = 50;
const TEXT_BYTES_MAX: usize = 2_000;
/// How long what is sent is signed with the old secret too.
const OLD_SECRET_LIFE: TimeDelta = TimeDelta::hours(24);
/// The type of the event that a test sends.
const TEST: &str = "webhook.test";

/// A webhook to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where events are sent: an `https` URL of the open internet.
    pub url: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Which events: patterns of types, such as `user.*` or `inventory.**`.
    pub event_types: Vec<String>,
}

/// What of a webhook can be changed. What is missing stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    /// Where events are sent.
    pub url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Which events.
    pub event_types: Option<Vec<String>>,
    /// Whether events are sent. Those published while they are not are not made up for.
    pub is_enabled: Option<bool>,
}

/// A webhook with its secret, which is shown this once.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// What deliveries are signed with: `whsec_` and base64.
    pub secret: String,
}

/// What a secret is sealed for: it opens for no other webhook.
pub(crate) fn context(principal_tenant: purlin_domain::id::TenantId, id: Uuid) -> String {
    format!("webhook {id} of {principal_tenant}")
}

/// Make a webhook.
pub async fn create(platform: &Platform, principal: &Principal, new: NewWebhook) -> Result<WebhookWithSecret> {
    check_new(platform, &new).await?;
    require_events(principal)?;
    let mut change = Mutation::begin(platform, principal).await?;
    // Held, so that two requests do not both find the last place.
    tenants::hold(&mut change.tx).await?;
    if webhooks::count(&mut change.tx).await? >= WEBHOOKS_MAX {
        return Err(ServiceError::Conflict(
            "too_many_webhooks",
            format!("a tenant has at most {WEBHOOKS_MAX} webhooks"),
        ));
    }
    let (now, by) = (change.now, principal.actor.user());
    let webhook = Webhook {
        id: platform.id(),
        url: new.url,
        description: new.description,
        event_types: json!(new.event_types),
        is_enabled: true,
        disabled_reason: None,
        failing_since: None,
        old_secret_until: None,
        created_at: now,
        updated_at: now,
        created_by: by.map(|user| user.0),
        responsible_id: by.map(|user| user.0),
        orphaned_at: None,
    };
    let secret = sign::new_secret();
    let sealed = platform.secrets.seal(&context(principal.tenant, webhook.id), &secret)?;
    webhooks::insert(&mut change.tx, &webhook, sealed, by).await?;
    change.note(changed("webhook.created", None, Some(&webhook)));
    change.finish(WebhookWithSecret { webhook, secret: sign::shown(&secret) }).await
}

/// What a webhook sends is what its maker may read: the tenant's events.
fn require_events(principal: &Principal) -> Result<()> {
    access::require(principal, &Permission::new("events", "read"))
}

async fn check_new(platform: &Platform, new: &NewWebhook) -> Result<()> {
    refuse(check(platform, Some(&new.url), Some(&new.description), Some(&new.event_types)).await)
}

async fn check_change(platform: &Platform, change: &ChangeWebhook) -> Result<()> {
    let (url, description) = (change.url.as_deref(), change.description.as_deref());
    refuse(check(platform, url, description, change.event_types.as_deref()).await)
}

fn refuse(wrong: Vec<Violation>) -> Result<()> {
    if wrong.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(wrong)) }
}

/// What is wrong with those of them that are there.
async fn check(
    platform: &Platform,
    url: Option<&str>,
    description: Option<&str>,
    patterns: Option<&[String]>,
) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut flaw = |pointer: String, code: &str, why: String| wrong.push(Violation::new(pointer, code, why));
    match url {
        Some(url) if url.len() > TEXT_BYTES_MAX => {
            flaw("/url".to_owned(), "length", format!("at most {TEXT_BYTES_MAX} bytes"));
        }
        Some(url) => {
            if let Err(why) = platform.http.resolve(url).await {
                flaw("/url".to_owned(), "url", why);
            }
        }
        None => {}
    }
    if description.is_some_and(|description| description.len() > TEXT_BYTES_MAX) {
        flaw("/description".to_owned(), "length", format!("at most {TEXT_BYTES_MAX} bytes"));
    }
    if patterns.is_some_and(|patterns| patterns.is_empty() || patterns.len() > PATTERNS_MAX) {
        flaw("/event_types".to_owned(), "length", format!("1 to {PATTERNS_MAX} patterns"));
    }
    for (i, pattern) in patterns.unwrap_or_default().iter().enumerate() {
        if let Err(why) = Pattern::try_from(pattern.clone()) {
            flaw(format!("/event_types/{i}"), "pattern", why);
        }
    }
    wrong
}

fn changed(what: &'static str, before: Option<&Webhook>, after: Option<&Webhook>) -> Change {
    let shown = |w: &Webhook| {
        json!({
            "url": w.url, "description": w.description, "event_types": w.event_types, "is_enabled": w.is_enabled,
            "disabled_reason": w.disabled_reason, "responsible_id": w.responsible_id, "orphaned_at": w.orphaned_at,
        })
    };
    let id = before.or(after).map(|w| w.id.to_string()).unwrap_or_default();
    let changes = difference(&before.map_or(Json::Null, shown), &after.map_or(Json::Null, shown));
    Change { what, resource_type: "webhook", data: Some(json!({ "id": id })), id, changes }
}

/// A page of the tenant's webhooks.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<Webhook>> {
    let prepared = Prepared::new(platform, principal.tenant, "webhooks", &webhooks::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = webhooks::list(&mut tx, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// One webhook.
pub async fn get(platform: &Platform, principal: &Principal, id: Uuid) -> Result<Webhook> {
    webhooks::by_id(&mut platform.db.read(principal.tenant).await?, id).await?.ok_or(ServiceError::NotFound)
}

/// Change a webhook. One that the host disabled begins anew when it is enabled.
pub async fn change(
    platform: &Platform,
    principal: &Principal,
    id: Uuid,
    request: ChangeWebhook,
    expected: Option<Timestamp>,
) -> Result<Webhook> {
    // Names are looked up while no transaction is open.
    check_change(platform, &request).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let before = webhooks::hold(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    expect(before.updated_at, expected)?;
    let patterns = match request.event_types {
        Some(patterns) => patterns,
        None => serde_json::from_value(before.event_types.clone()).map_err(ServiceError::internal)?,
    };
    let is_enabled = request.is_enabled.unwrap_or(before.is_enabled);
    let begins_anew = is_enabled && !before.is_enabled;
    // Whoever changes one that is orphaned, and may read events, answers for it from then on.
    let by = principal.actor.user().map(|user| user.0);
    let is_adopted = before.orphaned_at.is_some() && by.is_some() && require_events(principal).is_ok();
    let after = Webhook {
        responsible_id: if is_adopted { by } else { before.responsible_id },
        orphaned_at: before.orphaned_at.filter(|_| !is_adopted),
        url: request.url.unwrap_or_else(|| before.url.clone()),
        description: request.description.unwrap_or_else(|| before.description.clone()),
        event_types: json!(patterns),
        is_enabled,
        disabled_reason: before.disabled_reason.clone().filter(|_| !is_enabled),
        failing_since: before.failing_since.filter(|_| !begins_anew),
        updated_at: change.after(before.updated_at),
        ..before.clone()
    };
    if begins_anew || after.url != before.url || after.event_types != before.event_types {
        require_events(principal)?;
    }
    if !webhooks::update(&mut change.tx, &after, before.updated_at).await? {
        return Err(conflict());
    }
    change.note(changed("webhook.updated", Some(&before), Some(&after)));
    change.finish(after).await
}

/// Remove a webhook. What was still to be sent to it is not.
pub async fn delete(platform: &Platform, principal: &Principal, id: Uuid, expected: Option<Timestamp>) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = webhooks::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    expect(before.updated_at, expected)?;
    webhooks::delete(&mut change.tx, id).await?;
    change.note(changed("webhook.deleted", Some(&before), None));
    change.finish(()).await
}

/// A secret that signed before, and until when it still does.
#[derive(Serialize, Deserialize)]
pub(crate) struct OldSecret {
    pub(crate) secret: Vec<u8>,
    pub(crate) until: Timestamp,
}

/// Old secrets that still sign, of one webhook at most; the oldest go first.
const OLD_SECRETS_MAX: usize = 10;

/// The secrets that signed before and still do, sealed together.
pub(crate) fn old_secrets(
    platform: &Platform,
    context: &str,
    target: &Target,
    now: Timestamp,
) -> Result<Vec<OldSecret>> {
    let until = target.old_secret_until.filter(|until| now < *until);
    let (Some(sealed), Some(until)) = (&target.old_secret, until) else { return Ok(Vec::new()) };
    let opened = platform.secrets.open(context, sealed)?;
    // Older hosts kept one secret, as it is.
    let all: Vec<OldSecret> =
        serde_json::from_slice(&opened).unwrap_or_else(|_| vec![OldSecret { secret: opened, until }]);
    Ok(all.into_iter().filter(|old| now < old.until).collect())
}

/// Sign with a new secret from now on, and for a day with the old one too.
pub async fn rotate_secret(platform: &Platform, principal: &Principal, id: Uuid) -> Result<WebhookWithSecret> {
    let mut change = Mutation::begin(platform, principal).await?;
    let before = webhooks::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    let secret = sign::new_secret();
    let context = context(principal.tenant, id);
    let now = change.after(before.updated_at);
    let target = webhooks::target(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    let mut old = old_secrets(platform, &context, &target, now)?;
    old.insert(0, OldSecret { secret: platform.secrets.open(&context, &target.secret)?, until: now + OLD_SECRET_LIFE });
    old.truncate(OLD_SECRETS_MAX);
    let old = serde_json::to_vec(&old).map_err(ServiceError::internal)?;
    let sealed = (platform.secrets.seal(&context, &secret)?, platform.secrets.seal(&context, &old)?);
    if !webhooks::rotate(&mut change.tx, id, sealed, now + OLD_SECRET_LIFE, now, before.updated_at).await? {
        return Err(conflict());
    }
    change.note(Change {
        what: "webhook.secret_rotated",
        resource_type: "webhook",
        id: id.to_string(),
        changes: json!({ "secret": { "before": "***", "after": "***" } }),
        data: Some(json!({ "id": id })),
    });
    let webhook = webhooks::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    change.finish(WebhookWithSecret { webhook, secret: sign::shown(&secret) }).await
}

/// What was sent to a webhook, and what is to be: jobs.
pub async fn deliveries(
    platform: &Platform,
    principal: &Principal,
    id: Uuid,
    query: &ListQuery,
) -> Result<ListPage<JobSummary>> {
    let resource = format!("webhooks/{id}/deliveries");
    let prepared = Prepared::new(platform, principal.tenant, &resource, &jobs::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    webhooks::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)?;
    let page = jobs::list_of_webhook(&mut tx, id, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// Send a test event to a webhook, and to nobody else; the job that does.
pub async fn test(platform: &Platform, principal: &Principal, id: Uuid) -> Result<Enqueued> {
    backlog::grow(platform, principal.tenant).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let webhook = webhooks::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    if !webhook.is_enabled {
        return Err(ServiceError::Conflict("webhook_disabled", "the webhook is disabled; enable it first".to_owned()));
    }
    let event = NewEvent {
        id: platform.id(),
        source: purlin_domain::core_event::SOURCE.to_owned(),
        event_type: TEST.to_owned(),
        subject: Some(id.to_string()),
        data: json!({ "webhook": id }),
    };
    let cause = change.cause();
    let publish = Publish { event: &event, cause: &cause, by: principal.actor.user() };
    events::insert(&mut change.tx, &[publish], change.now).await?;
    change.note(Change {
        what: "webhook.tested",
        resource_type: "webhook",
        id: id.to_string(),
        changes: json!({}),
        data: None,
    });
    let job = job(platform, id, &event.event_type, event.id, change.now);
    let enqueued = Enqueued { id: job.id };
    change.enqueue_delivery(CORE.to_owned(), job, event.id);
    change.finish(enqueued).await
}

/// The job that sends an event to a webhook.
pub(crate) fn job(
    platform: &Platform,
    webhook: Uuid,
    event_type: &str,
    event: purlin_domain::id::EventId,
    now: Timestamp,
) -> NewJob {
    let payload = json!({ "event": event, "type": event_type, "webhook": webhook });
    NewJob { attempts_max: ATTEMPTS, webhook: Some(webhook), ..NewJob::new(platform.id(), KIND, payload, now) }
}

/// Whether a webhook with these patterns gets events of this type.
pub(crate) fn takes(patterns: &Json, event_type: &str) -> bool {
    let matches = |pattern: &Json| {
        let pattern = pattern.as_str().and_then(|text| Pattern::try_from(text.to_owned()).ok());
        pattern.is_some_and(|pattern| pattern.matches(event_type))
    };
    patterns.as_array().is_some_and(|patterns| patterns.iter().any(matches))
}
