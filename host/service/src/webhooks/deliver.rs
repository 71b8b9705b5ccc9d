//! Sending one event to one webhook.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use purlin_domain::{
    access::{Authority, Decision, Permission},
    audit::Origin,
    event::Event,
    id::{EventId, UserId},
    job::Failure,
    principal::Principal,
};
use purlin_store::{
    TenantTx, events,
    jobs::Claimed,
    roles, standing,
    webhooks::{self, Target, Webhook},
};
use serde_json::json;

use super::{changed, context, old_secrets, sign};
use crate::{
    Platform, Result, ServiceError,
    change::Mutation,
    egress::{Post, PostError},
    native,
    trace::{Span, SpanKind},
};

/// The kind of the jobs that do it.
pub(crate) const KIND: &str = "deliver_webhook";

/// Pauses before the second and every further attempt, after Standard Webhooks: some 75
/// hours in all.
const PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
    Duration::from_secs(14 * 3_600),
    Duration::from_secs(20 * 3_600),
    Duration::from_secs(24 * 3_600),
];
/// Attempts of a delivery.
pub(crate) const ATTEMPTS: u32 = PAUSES.len() as u32 + 1;
/// A receiver may ask to be left alone for this long at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Administrators that are told of an orphan at most.
const ADMINS_TOLD_MAX: u32 = 20;

/// What became of it.
enum Taken {
    Yes,
    No(String, Option<Duration>),
    /// The receiver said that it wants nothing more.
    Gone,
    /// It may not be sent there, now or later.
    Refused(String),
}

/// Send it; what of the job is to be said.
pub(crate) async fn deliver(platform: &Arc<Platform>, claimed: &Claimed) -> std::result::Result<(), Failure> {
    let retry = |error: ServiceError| Failure::Retry(error.to_string());
    let found = find(platform, claimed).await.map_err(retry)?;
    let Some((target, event)) = found else {
        return Err(Failure::Reject("the webhook is disabled or gone".to_owned()));
    };
    let taken = send(platform, claimed, &target, &event).await.map_err(retry)?;
    note(platform, claimed, &target, &taken).await.map_err(retry)?;
    match taken {
        Taken::Yes => Ok(()),
        Taken::Gone => Err(Failure::Reject("the receiver answered 410: it wants nothing more".to_owned())),
        Taken::Refused(why) => Err(Failure::Reject(why)),
        Taken::No(why, asked) => {
            let attempt = usize::try_from(claimed.attempt - 1).unwrap_or(0);
            let pause = PAUSES.get(attempt).copied().unwrap_or(RETRY_AFTER_MAX);
            let pause = pause.mul_f64(1.0 - 0.25 * rand::random::<f64>());
            Err(Failure::RetryAfter(asked.unwrap_or(pause).min(RETRY_AFTER_MAX), why))
        }
    }
}

async fn find(platform: &Platform, claimed: &Claimed) -> Result<Option<(Target, Event)>> {
    let (Some(webhook), Some(event)) = (claimed.webhook_id, claimed.event_id) else { return Ok(None) };
    let mut tx = platform.db.read(claimed.tenant_id).await?;
    let target = webhooks::target(&mut tx, webhook).await?.filter(|target| target.is_enabled);
    let event = events::by_id(&mut tx, EventId(event)).await?;
    if let Some(target) = &target
        && is_orphan(platform, &mut tx, target).await?
    {
        drop(tx);
        orphan(platform, claimed, webhook).await?;
    }
    Ok(target.zip(event))
}

/// Whether whoever answers for a webhook may not read events any more, and nobody was told yet.
async fn is_orphan(platform: &Platform, tx: &mut TenantTx, target: &Target) -> Result<bool> {
    let (Some(responsible), None) = (target.responsible_id, target.orphaned_at) else { return Ok(false) };
    let Some(standing) = standing::of_user(tx, UserId(responsible)).await? else { return Ok(true) };
    let plan = platform.settings.plans.get(&standing.plan).permissions;
    let authority = Authority { user: Some(standing.permissions), plan, ..Authority::default() };
    Ok(authority.decide(&Permission::new("events", "read")) != Decision::Allowed)
}

/// Tell the administrators. A webhook belongs to the tenant: it goes on until they decide.
async fn orphan(platform: &Platform, claimed: &Claimed, id: uuid::Uuid) -> Result<()> {
    let principal = system(claimed);
    let mut change = Mutation::begin(platform, &principal).await?;
    let Some(before) = webhooks::by_id(&mut change.tx, id).await?.filter(|w| w.orphaned_at.is_none()) else {
        return Ok(());
    };
    let after =
        Webhook { orphaned_at: Some(change.now), updated_at: change.after(before.updated_at), ..before.clone() };
    if !webhooks::update(&mut change.tx, &after, before.updated_at).await? {
        return Ok(());
    }
    change.note(changed("webhook.orphaned", Some(&before), Some(&after)));
    for admin in roles::admins(&mut change.tx, ADMINS_TOLD_MAX).await? {
        mail(platform, &mut change, native::WEBHOOK_ORPHANED, admin.0, id);
    }
    change.finish(()).await
}

fn system(claimed: &Claimed) -> Principal {
    let origin = Origin { request_id: claimed.id.to_string(), trace: Some(claimed.trace()), ..Origin::default() };
    Principal::system(claimed.tenant_id, origin)
}

/// Send somebody a mail about a webhook.
fn mail(platform: &Platform, change: &mut Mutation<'_>, kind: &str, to: uuid::Uuid, webhook: uuid::Uuid) {
    let mut mail = native::mail_job(platform, kind, to, change.now);
    mail.payload = json!({ "subject": to, "webhook": webhook });
    change.enqueue(mail);
}

async fn send(platform: &Platform, claimed: &Claimed, target: &Target, event: &Event) -> Result<Taken> {
    let now = platform.now();
    let body =
        serde_json::to_vec(&envelope(&platform.settings.public_url, event, claimed)).map_err(ServiceError::internal)?;
    let id = event.id.to_string();
    let webhook = claimed.webhook_id.unwrap_or_default();
    let context = context(claimed.tenant_id, webhook);
    let mut secrets = vec![platform.secrets.open(&context, &target.secret)?];
    secrets.extend(old_secrets(platform, &context, target, now)?.into_iter().map(|old| old.secret));
    let sign = |secret: &Vec<u8>| sign::sign(secret, &id, now.timestamp(), &body);
    let signatures: Vec<String> = secrets.iter().map(sign).collect();
    let call = platform.open_trace(Some(claimed.trace()));
    let headers = vec![
        ("content-type", "application/cloudevents+json; charset=utf-8".to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", now.timestamp().to_string()),
        ("webhook-signature", signatures.join(" ")),
        ("traceparent", call.to_string()),
    ];
    let began = Instant::now();
    let answer = platform.http.post(Post { url: target.url.clone(), headers, body }).await;
    platform.span_ended(call, began.elapsed(), || {
        Span::new("POST", SpanKind::Client)
            .failed(answer.as_ref().err().map(PostError::name))
            .with("http.request.method", "POST")
            .with("server.address", platform.http.check(&target.url).ok())
            .with("http.response.status_code", answer.as_ref().ok().map(|answer| answer.status))
            .with("purlin.webhook", webhook.to_string())
    });
    Ok(match answer {
        Ok(answer) if (200..300).contains(&answer.status) => Taken::Yes,
        Ok(answer) if answer.status == 410 => Taken::Gone,
        Ok(answer) => Taken::No(format!("the receiver answered {}", answer.status), answer.retry_after),
        Err(PostError::Refused(why)) => Taken::Refused(why),
        Err(PostError::Failed(why)) => Taken::No(why, None),
    })
}

/// A CloudEvents 1.0 document, in structured mode.
fn envelope(public_url: &str, event: &Event, claimed: &Claimed) -> purlin_domain::Json {
    let mut document = json!({
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.event_type,
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": "application/json",
        "data": event.data,
        "tenant": claimed.tenant_id,
        "actor": event.actor,
        "causedby": event.caused_by,
        "depth": event.depth,
    });
    // An absolute URI, as CloudEvents asks for.
    let schema = event.dataschema.as_ref().map(|path| format!("{}{path}", public_url.trim_end_matches('/')));
    let optional = [("dataschema", &schema), ("traceparent", &event.traceparent)];
    for (name, value) in optional {
        if let (Some(value), Some(attributes)) = (value, document.as_object_mut()) {
            attributes.insert(name.to_owned(), value.clone().into());
        }
    }
    document
}

/// Remember how it goes; disable a webhook that takes nothing for too long, or wants nothing.
async fn note(platform: &Platform, claimed: &Claimed, target: &Target, taken: &Taken) -> Result<()> {
    let webhook = claimed.webhook_id.unwrap_or_default();
    let now = platform.now();
    let since = target.failing_since.unwrap_or(now);
    let patience = TimeDelta::from_std(platform.settings.webhook_patience).map_err(ServiceError::internal)?;
    let is_last = claimed.attempt >= claimed.attempts_max;
    let reason = match taken {
        Taken::Yes if target.failing_since.is_none() => return Ok(()),
        Taken::Yes => None,
        Taken::Gone => Some("the receiver answered 410: it wants nothing more".to_owned()),
        Taken::No(why, _) if is_last || now - since >= patience => (now - since >= patience)
            .then(|| format!("nothing was taken since {}: {why}", since.format("%Y-%m-%dT%H:%M:%SZ"))),
        Taken::No(..) | Taken::Refused(_) => None,
    };
    let Some(reason) = reason else {
        let failing_since = (!matches!(taken, Taken::Yes)).then_some(since);
        let mut tx = platform.db.write(claimed.tenant_id).await?;
        webhooks::note_failing(&mut tx, webhook, failing_since).await?;
        return Ok(tx.commit().await?);
    };
    disable(platform, claimed, webhook, reason).await
}

async fn disable(platform: &Platform, claimed: &Claimed, id: uuid::Uuid, reason: String) -> Result<()> {
    let principal = system(claimed);
    let mut change = Mutation::begin(platform, &principal).await?;
    let Some(before) = webhooks::by_id(&mut change.tx, id).await?.filter(|w| w.is_enabled) else { return Ok(()) };
    let after = Webhook {
        is_enabled: false,
        disabled_reason: Some(reason),
        updated_at: change.after(before.updated_at),
        ..before.clone()
    };
    if !webhooks::update(&mut change.tx, &after, before.updated_at).await? {
        return Ok(());
    }
    change.note(changed("webhook.disabled", Some(&before), Some(&after)));
    if let Some(maker) = before.responsible_id {
        mail(platform, &mut change, native::WEBHOOK_DISABLED, maker, id);
    }
    change.finish(()).await
}
