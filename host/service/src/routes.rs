//! HTTP routes of plugins: the guest answers, and what it did meanwhile is one unit of work,
//! kept with an answer below 400 and only with one.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use purlin_domain::{
    access::Authority,
    descriptor::Route,
    error::{HostError, Violation},
    guest::Ended,
    limits::GuestLimits,
    log::{LINE_CHARS_MAX, LogLevel, LogLine, escape_control},
    principal::Principal,
    route::{GuestRequest, GuestResponse},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Platform, Result, ServiceError, access, breaker,
    guests::{Answer, Ran},
    idempotency::Replay,
    jobs::{Running, served},
    ledger::{Invoked, Trigger, Went},
    plugin_logs,
    unit::{CommitError, Sent, Unit},
};

/// Headers of an answer at most, and bytes of them.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Things told to be wrong with a request.
const VIOLATIONS_MAX: usize = 100;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// The path below the plugin's own, as it was sent.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The headers that the plugin may see.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Refuse a request whose caller may not make it, or that is for no route of an enabled plugin.
pub async fn admit(platform: &Platform, principal: &Principal, plugin: &str, method: &str, path: &str) -> Result<()> {
    let running = served(platform, principal.tenant, plugin).await?;
    let (route, _) = running.plugin.loaded.route(method, path).ok_or(ServiceError::NotFound)?;
    access::require(principal, &route.permission)
}

/// Whether a route sees a header that plugins may see: one that begins with `x-` where it names it.
fn is_seen(route: &Route, name: &str) -> bool {
    !name.starts_with("x-") || route.headers.iter().any(|own| own == name)
}

/// Let a plugin answer a request, for its caller.
pub async fn answer(
    platform: &Arc<Platform>,
    principal: &Principal,
    plugin: &str,
    asked: Asked,
) -> Result<GuestResponse> {
    let sent = Sent::default();
    let mut reruns = 0;
    loop {
        let running = served(platform, principal.tenant, plugin).await?;
        let loaded = &running.plugin.loaded;
        let (route, params) = loaded.route(&asked.method, &asked.path).ok_or(ServiceError::NotFound)?;
        access::require(principal, &route.permission)?;
        running.within_rate(platform, principal.tenant).await?;
        let request = GuestRequest {
            id: principal.origin.request_id.clone(),
            method: asked.method.clone(),
            route: route.path.clone(),
            path: asked.path.clone(),
            params,
            query: asked.query.clone(),
            headers: asked.headers.iter().filter(|(name, _)| is_seen(route, name)).cloned().collect(),
            body: asked.body.clone(),
        };
        match attempt(platform, principal, &running, request, &sent).await {
            Ok(response) => return Ok(response),
            Err(CommitError::Failed(error)) => return Err(error),
            Err(CommitError::LeaseLost) => return Err(ServiceError::internal("a request has no lease to lose")),
            Err(CommitError::Conflict(why)) if reruns >= platform.settings.limits.reruns => {
                return Err(ServiceError::Conflict("conflict", why));
            }
            Err(CommitError::Withdrawn) if reruns >= platform.settings.limits.reruns => {
                return Err(ServiceError::Conflict("conflict", "the plugin changed meanwhile".to_owned()));
            }
            Err(CommitError::Conflict(_)) => reruns += 1,
            // It is done again, under what holds now.
            Err(CommitError::Withdrawn) => {
                platform.access.forget(principal.tenant);
                reruns += 1;
            }
        }
    }
}

/// Answer it once.
async fn attempt(
    platform: &Arc<Platform>,
    principal: &Principal,
    running: &Running,
    request: GuestRequest,
    sent: &Sent,
) -> std::result::Result<GuestResponse, CommitError> {
    // What the caller may, cut by what the tenant granted to the plugin.
    let authority = Authority { grants: running.authority.grants.clone(), ..Authority::clone(&principal.authority) };
    let acting = Principal { authority: Arc::new(authority), ..principal.clone() };
    let unit = Box::new(Unit::for_route(platform, acting, running.plugin.clone(), sent.clone()));
    let (digest, limits) = (&running.plugin.loaded.digest, running.within_plan(GuestLimits::REQUEST));
    let (subject, trace) = (format!("{} {}", request.method, request.route), unit.cause().trace);
    let answered = platform.guests.answer(platform, digest, unit, request, limits).await?;
    let Ran { outcome, unit, mut log, usage } = answered;
    let was_let_down = unit.as_ref().is_some_and(|unit| unit.was_let_down());
    let went = match &outcome {
        Ok(Ok(response)) if response.status < 400 => Went::Well,
        Ok(_) if was_let_down => Went::LetDown,
        Ok(_) => Went::Failed,
        Err(ended) => Went::of(ended),
    };
    let gathered = Invoked::gathered(unit.as_deref());
    let trigger = Trigger { kind: "route", subject, job: None, trace };
    breaker::ended(platform, principal.tenant, &running.plugin, Invoked { trigger, went, usage, gathered }).await;
    let said = judge(platform, outcome, &mut log);
    let plugin = &running.plugin.installation.plugin;
    if let Err(error) = plugin_logs::append(platform, principal.tenant, plugin, None, log).await {
        tracing::warn!(%error, plugin, "a plugin's log could not be kept");
    }
    let Some(unit) = unit else { return Err(ServiceError::internal("the unit of work is gone").into()) };
    if unit.is_stale() {
        return Err(CommitError::Conflict("a record changed between two reads".to_owned()));
    }
    if said.is_err() && unit.was_let_down() {
        return Err(
            ServiceError::Unavailable("the platform could not do what the plugin asked of it".to_owned()).into()
        );
    }
    let response = said?;
    if response.status < 400 {
        keep(*unit, &response).await?;
    }
    Ok(response)
}

/// Commit what the guest did, with its answer where a repetition of the request is to get it.
async fn keep(mut unit: Unit, response: &GuestResponse) -> std::result::Result<(), CommitError> {
    if unit.repeatable(response.status) {
        let kept = Kept { headers: response.headers.clone(), body: STANDARD.encode(&response.body) };
        unit.answer(json!(kept));
    } else if unit.is_idle() {
        return Ok(());
    }
    unit.commit(None).await
}

/// An answer that is kept for a repetition.
#[derive(Serialize, Deserialize)]
struct Kept {
    headers: Vec<(String, String)>,
    body: String,
}

/// The answer that was kept.
pub fn replayed(replay: Replay) -> Result<GuestResponse> {
    let kept: Kept = serde_json::from_value(replay.body).map_err(ServiceError::internal)?;
    let body = STANDARD.decode(kept.body).map_err(ServiceError::internal)?;
    Ok(GuestResponse { status: replay.status, headers: kept.headers, body })
}

/// What the guest's answer comes to for the caller; what went wrong is told in the log.
fn judge(
    platform: &Platform,
    outcome: std::result::Result<Answer, Ended>,
    log: &mut Vec<LogLine>,
) -> Result<GuestResponse> {
    let mut note = |message: &str| {
        let message = escape_control(message).chars().take(LINE_CHARS_MAX).collect();
        log.push(LogLine { time: platform.now(), level: LogLevel::Error, message, fields: json!({ "host": true }) });
    };
    match outcome {
        Ok(Ok(response)) => match flaw(platform, &response) {
            None => Ok(response),
            Some(flaw) => {
                note(flaw);
                Err(ServiceError::Plugin("plugin_failed"))
            }
        },
        Ok(Err(HostError::Unavailable(why))) => {
            note(&why);
            Err(ServiceError::Unavailable("a plugin said that it cannot answer now".to_owned()))
        }
        Ok(Err(error)) => Err(shortened(error).into()),
        Err(Ended::Unavailable(why)) => Err(ServiceError::Unavailable(why)),
        Err(ended @ Ended::Limit(_)) => {
            note(&ended.to_string());
            Err(ServiceError::Plugin("plugin_limit"))
        }
        Err(ended @ Ended::Trap(_)) => {
            note(&ended.to_string());
            Err(ServiceError::Plugin("plugin_failed"))
        }
    }
}

/// A refusal in words of some length.
pub(crate) fn shortened(error: HostError) -> HostError {
    let short = |text: String| text.chars().take(LINE_CHARS_MAX).collect::<String>();
    match error {
        HostError::Denied(what) => HostError::Denied(short(what)),
        HostError::NotGranted(what) => HostError::NotGranted(short(what)),
        HostError::Conflict(why) => HostError::Conflict(short(why)),
        HostError::Invalid(wrong) => HostError::Invalid(
            wrong
                .into_iter()
                .take(VIOLATIONS_MAX)
                .map(|v| Violation { pointer: short(v.pointer), detail: short(v.detail), ..v })
                .collect(),
        ),
        other => other,
    }
}

/// What is wrong with an answer.
fn flaw(platform: &Platform, response: &GuestResponse) -> Option<&'static str> {
    let header_bytes: usize = response.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    // 408 is how the host itself tells that a request took too long.
    if !(200..600).contains(&response.status) || response.status == 408 {
        Some("the status of an answer is 200 to 599, and not 408")
    } else if response.headers.len() > HEADERS_MAX || header_bytes > HEADER_BYTES_MAX {
        Some("an answer has at most 64 headers, of 16 KiB together")
    } else if response.body.len() > platform.settings.limits.payload_bytes {
        Some("the body of an answer is too large")
    } else {
        None
    }
}
