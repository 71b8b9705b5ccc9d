//! What the platform itself does on events and in jobs.
//!
//! A native handler runs in the transaction that publishes its event: a tenant is never
//! seen without its roles. What reaches outside, a mail, is a job enqueued there.

use std::{sync::Arc, time::Instant};

use purlin_domain::{
    Json, Timestamp,
    access::Permission,
    audit::{AuditEntry, Origin},
    id::{InvitationId, TenantId, UserId},
    job::{Failure, NewJob},
    plan,
    principal::Principal,
};
use purlin_store::{
    api_keys, events, invitations,
    jobs::{self, Claimed, Outcome},
    one_time_tokens, roles, second_factors, sessions, tenants,
    tenants::Tenant,
    users, webhooks as stored_webhooks,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError, audit,
    auth::{RESET, VERIFY},
    change::{Change, Mutation},
    events as events_service, folds, indexes,
    installations::{self, PURGE},
    limiter::{self, Rate},
    mail::{self, Letter, SendError},
    metrics::{self, RunOutcome},
    opaque, personal, reports,
    tenants::default_settings,
    trace::{Span, SpanKind},
    webhooks,
};

/// Welcomes a new user, and proves the address.
pub(crate) const WELCOME: &str = "send_welcome_email";
/// Proves an address.
pub(crate) const VERIFICATION: &str = "send_verification_email";
/// Gives leave to set a new password.
pub(crate) const PASSWORD_RESET: &str = "send_password_reset_email";
/// Tells the address that an account had before of the new one.
pub(crate) const EMAIL_CHANGED: &str = "send_email_changed_email";
/// Invites somebody.
pub(crate) const INVITATION: &str = "send_invitation_email";
/// Tells who made a webhook that it was disabled.
pub(crate) const WEBHOOK_DISABLED: &str = "send_webhook_disabled_email";
/// Tells an administrator that nobody answers for a webhook any more.
pub(crate) const WEBHOOK_ORPHANED: &str = "send_webhook_orphaned_email";
/// Erases what is personal of a deleted user.
pub(crate) const ERASE: &str = "erase_personal_data";

/// Mails that one tenant may ask for in a minute: invitations, and those to new users.
const MAILS_PER_MINUTE: u32 = 1_000;

/// How long what a mail carries is good.
const VERIFY_LIFE: chrono::TimeDelta = chrono::TimeDelta::days(3);
const RESET_LIFE: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// A job that sends a mail about this subject.
pub(crate) fn mail_job(platform: &Platform, kind: &str, subject: Uuid, now: Timestamp) -> NewJob {
    NewJob::new(platform.id(), kind, json!({ "subject": subject }), now)
}

/// A job that tells the address that an account had that it has another one now.
pub(crate) fn email_changed_job(platform: &Platform, user: UserId, before: &str, now: Timestamp) -> NewJob {
    NewJob::new(platform.id(), EMAIL_CHANGED, json!({ "subject": user, "to": before }), now)
}

/// Mails to one address that tenants and strangers can have sent, whoever has it.
const MAILS_TO_ADDRESS: Rate =
    Rate { name: "mails-to-address", burst: 5, interval: std::time::Duration::from_secs(300) };

/// Refuse to send very many mails to one address.
pub(crate) async fn limit_mails_to(platform: &Platform, email: &str) -> Result<()> {
    limiter::limit(platform, MAILS_TO_ADDRESS, email).await
}

/// Refuse a tenant that would send very many mails.
pub(crate) async fn limit_mails(platform: &Platform, tenant: TenantId) -> Result<()> {
    limiter::limit(platform, Rate::per_minute("mails", MAILS_PER_MINUTE), &tenant.to_string()).await
}

/// The job that erases a deleted user. At most one waits at a time.
pub(crate) fn erase_job(platform: &Platform, user: UserId, now: Timestamp) -> NewJob {
    NewJob { unique_key: Some(user.to_string()), ..mail_job(platform, ERASE, user.0, now) }
}

/// The native handler of `tenant.created`: system roles, settings, then `tenant.provisioned`.
pub(crate) async fn provision_tenant_defaults(
    platform: &Platform,
    change: &mut Mutation<'_>,
    tenant: Tenant,
) -> Result<Tenant> {
    let now = change.now;
    for (name, description, permissions) in plan::system_roles() {
        let role = roles::NewRole { id: platform.id(), name, description, is_system: true };
        roles::insert(&mut change.tx, &role, &permissions, now, None).await?;
    }
    let mut after = Tenant { settings: default_settings(), provisioned_at: Some(now), ..tenant.clone() };
    crate::tenants::update(change, &tenant, &mut after).await?;
    let id = after.id.to_string();
    let data = Some(json!({ "id": after.id, "plan": after.plan }));
    let changes = json!({ "settings": { "before": {}, "after": after.settings } });
    change.note(Change { what: "tenant.provisioned", resource_type: "tenant", id, changes, data });
    Ok(after)
}

/// Does nothing; shows that jobs run.
const PING: &str = "ping";

/// Whether people may enqueue jobs of this kind.
pub(crate) fn is_open(kind: &str) -> bool {
    kind == PING || kind == reports::KIND
}

/// Refuse a payload that a job of this kind cannot work with; the permission it needs.
pub(crate) fn check(kind: &str, payload: &Json) -> Result<Option<Permission>> {
    match kind {
        reports::KIND => reports::needs(payload).map(Some),
        PING if payload.is_object() => Ok(None),
        _ => Err(ServiceError::invalid("/payload", "type", "an object is needed")),
    }
}

/// How a run of a job of the platform's own ended.
pub enum Ended {
    /// Well, with nothing written yet: many such ends can be written at once.
    Idle(Option<Json>),
    /// However it did, it is written; whether the claim still held.
    Written(bool),
}

/// Run a claimed job of the platform's own to its end. What it causes is within its run.
pub async fn run(platform: &Arc<Platform>, claimed: &mut Claimed) -> Result<Ended> {
    let (run, began) = (platform.open_trace(Some(claimed.trace())), Instant::now());
    claimed.traceparent = Some(run.to_string());
    let outcome = work(platform, claimed).await;
    platform.span_ended(run, began.elapsed(), || {
        let error = match &outcome {
            Ok(Ok(_)) => None,
            Ok(Err(_)) => Some("failed"),
            Err(_) => Some("unavailable"),
        };
        Span::new(format!("run-job {}", claimed.kind), SpanKind::Consumer)
            .failed(error)
            .with("purlin.tenant", claimed.tenant_id.to_string())
            .with("purlin.job", claimed.id.to_string())
    });
    match outcome? {
        Ok(ended) => Ok(ended),
        Err(failure) => crate::jobs::fail(platform, claimed, &failure).await.map(Ended::Written),
    }
}

async fn work(platform: &Arc<Platform>, claimed: &Claimed) -> Result<std::result::Result<Ended, Failure>> {
    let held = match claimed.kind.as_str() {
        events_service::REPLAY => events_service::run_replay(platform, claimed).await?,
        reports::KIND => reports::run(platform, claimed).await?,
        PURGE => match installations::run_purge(platform, claimed).await? {
            Ok(held) => held,
            Err(failure) => return Ok(Err(failure)),
        },
        indexes::KIND => indexes::run(platform, claimed).await?,
        folds::KIND => folds::run(platform, claimed).await?,
        ERASE => erase(platform, claimed).await?,
        PING => return Ok(Ok(Ended::Idle(None))),
        personal::ERASE_RELAYED => {
            let retry = |error: ServiceError| Failure::Retry(error.to_string());
            return Ok(personal::erase_relayed(platform, claimed.tenant_id)
                .await
                .map(|()| Ended::Idle(None))
                .map_err(retry));
        }
        webhooks::KIND => return Ok(webhooks::deliver(platform, claimed).await.map(|()| Ended::Idle(None))),
        _ => return Ok(send(platform, claimed).await.map(|()| Ended::Idle(None))),
    };
    metrics::written(platform, claimed, RunOutcome::Succeeded, held);
    Ok(Ok(Ended::Written(held)))
}

async fn send(platform: &Platform, claimed: &Claimed) -> std::result::Result<(), Failure> {
    let letter = letter(platform, claimed).await.map_err(|error| match error {
        ServiceError::NotFound => Failure::Reject("whom it was for is not there any more".to_owned()),
        other => Failure::Retry(other.to_string()),
    })?;
    // It may have become pointless meanwhile: an address that is proven by now.
    let Some(letter) = letter else { return Ok(()) };
    platform.mailer.send(letter).await.map_err(|error| match error {
        SendError::Refused(why) => Failure::Reject(why),
        SendError::Failed(why) => Failure::Retry(why),
    })
}

/// What a job that sends a mail sends.
async fn letter(platform: &Platform, claimed: &Claimed) -> Result<Option<Letter>> {
    let id = subject(&claimed.payload.clone().unwrap_or_default())?;
    let mut tx = platform.db.write(claimed.tenant_id).await?;
    let tenant = tenants::own(&mut tx).await?.ok_or(ServiceError::NotFound)?;
    if claimed.kind == INVITATION {
        let found = invitations::by_id(&mut tx, InvitationId(id)).await?.ok_or(ServiceError::NotFound)?;
        if found.status != "pending" {
            return Ok(None);
        }
        let (_, token) = opaque::invitation_token(platform, tenant.id, found.id, found.sent_count);
        return mail::write(platform, "invitation", &tenant, &found.email, None, &token, claimed.id).map(Some);
    }
    let user = users::hold(&mut tx, UserId(id)).await?.ok_or(ServiceError::NotFound)?;
    let of_webhook = match claimed.kind.as_str() {
        WEBHOOK_DISABLED => Some("webhook_disabled"),
        WEBHOOK_ORPHANED => Some("webhook_orphaned"),
        _ => None,
    };
    if let Some(template) = of_webhook {
        let webhook = claimed
            .payload
            .as_ref()
            .and_then(|payload| payload.get("webhook"))
            .and_then(Json::as_str)
            .and_then(|id| id.parse().ok());
        let webhook =
            stored_webhooks::by_id(&mut tx, webhook.unwrap_or_default()).await?.ok_or(ServiceError::NotFound)?;
        let name = user.first_name.as_deref();
        return mail::write(platform, template, &tenant, &user.email, name, &webhook.url, claimed.id).map(Some);
    }
    if claimed.kind == EMAIL_CHANGED {
        let to = claimed.payload.as_ref().and_then(|payload| payload.get("to")).and_then(Json::as_str);
        let (to, name) = (to.unwrap_or_default(), user.first_name.as_deref());
        return mail::write(platform, "email_changed", &tenant, to, name, &user.email, claimed.id).map(Some);
    }
    let (template, purpose, life) = match claimed.kind.as_str() {
        WELCOME => ("welcome", VERIFY, VERIFY_LIFE),
        VERIFICATION => ("verification", VERIFY, VERIFY_LIFE),
        PASSWORD_RESET => ("password_reset", RESET, RESET_LIFE),
        other => return Err(ServiceError::Internal(format!("`{other}` is not a job of the platform"))),
    };
    if claimed.kind == VERIFICATION && user.is_verified {
        return Ok(None);
    }
    // The job's id makes the token: a run after a crash sends the same one again.
    let (token, text) = opaque::one_time_token(platform, tenant.id, claimed.id.0, &user.email);
    let now = platform.now();
    one_time_tokens::replace(&mut tx, claimed.id.0, user.id, purpose, &token.digest(), now, now + life).await?;
    tx.commit().await?;
    let name = user.first_name.as_deref();
    mail::write(platform, template, &tenant, &user.email, name, &text, claimed.id).map(Some)
}

/// Erase a deleted user: one transaction, with the acknowledgement of the job.
async fn erase(platform: &Platform, claimed: &Claimed) -> Result<bool> {
    let user = UserId(subject(&claimed.payload.clone().unwrap_or_default())?);
    let now = platform.now();
    let origin = Origin { request_id: claimed.id.to_string(), trace: Some(claimed.trace()), ..Origin::default() };
    let principal =
        Principal { on_behalf_of: claimed.caused_by.map(UserId), ..Principal::system(claimed.tenant_id, origin) };
    // Where the user was not deleted, or came back, nothing is erased.
    let is_deleted = users::is_deleted(&mut platform.db.read(claimed.tenant_id).await?, user).await?;
    let records = if is_deleted { personal::erase_about(platform, &principal, user).await? } else { 0 };
    let mut tx = platform.db.write(claimed.tenant_id).await?;
    let done = Outcome::Succeeded { result: Some(json!({ "erased": user, "records": records })), progress: None };
    if !jobs::finish(&mut tx, claimed.fence(), claimed.ordering_key.as_deref(), &done, now).await? {
        return Ok(false);
    }
    if let Some(email) = users::erase(&mut tx, user, now).await? {
        invitations::delete_of_email(&mut tx, &email).await?;
        sessions::delete_of_user(&mut tx, user).await?;
        api_keys::delete_of_user(&mut tx, user).await?;
        one_time_tokens::delete_of_user(&mut tx, user).await?;
        second_factors::delete(&mut tx, user).await?;
        events::erase_subject(&mut tx, &user.to_string(), &json!({ "id": user, "erased": true })).await?;
        let payload = json!({ "subject": user, "erased": true });
        jobs::erase_payloads(&mut tx, EMAIL_CHANGED, &user.to_string(), &payload).await?;
        personal::erase_relayed_later(platform, &mut tx, &principal, now).await?;
        let entry = AuditEntry {
            action: "user.erased".to_owned(),
            resource_type: "user".to_owned(),
            resource_id: Some(user.to_string()),
            changes: json!({ "personal_data": { "before": "***", "after": null } }),
        };
        audit::append(platform, &mut tx, &principal, vec![entry], now).await?;
    }
    tx.commit().await?;
    Ok(true)
}

fn subject(payload: &Json) -> Result<Uuid> {
    let text = payload.get("subject").and_then(Json::as_str).unwrap_or_default();
    text.parse().map_err(ServiceError::internal)
}
