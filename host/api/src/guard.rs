//! Around every operation: who calls, may they, did they ask this before, and do they know
//! the answer already.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::{OriginalUri, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use purlin_domain::{
    access::Permission,
    audit::Origin,
    descriptor::FILES,
    id::TenantId,
    limits::BODY_BYTES_MAX,
    principal::{Idempotency, Principal},
};
use purlin_service::{
    ServiceError, access,
    idempotency::{self, KEY_CHARACTERS_MAX, Replay},
    routes,
    storage::{self, Room},
    store::shares::Shares,
};
use tower_http::timeout::TimeoutLayer;

use crate::{
    App, Needs, Operation,
    problem::{self, Problem},
    reply::{Reply, located, unless_known},
    request::TIMED_OUT,
    route::apps,
};

/// What the guard of an operation knows of it.
#[derive(Clone)]
struct Guard {
    app: App,
    /// The room of the host for requests, divided between tenants.
    shares: Shares<TenantId>,
    needs: Needs,
    /// How much room there must be below the tenant's ceiling.
    room: Room,
    /// The status of success, of an operation that takes an `Idempotency-Key`.
    repeatable: Option<StatusCode>,
}

/// The operation's handler behind its guard.
pub(crate) fn guarded(app: &App, shares: &Shares<TenantId>, operation: Operation) -> MethodRouter<App> {
    let repeatable = operation.is_mutation().then_some(operation.status);
    let (needs, room) = (operation.needs, operation.needs_room());
    let guard = Guard { app: Arc::clone(app), shares: shares.clone(), needs, room, repeatable };
    operation
        .handler
        .route_layer(from_fn_with_state(guard, admit))
        .route_layer(TimeoutLayer::with_status_code(TIMED_OUT, operation.timeout))
}

async fn admit(
    State(guard): State<Guard>,
    OriginalUri(uri): OriginalUri,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let asked = matches!(*request.method(), Method::GET | Method::HEAD).then(|| request.headers().clone());
    if guard.needs == Needs::Nothing {
        return Ok(located(next.run(request).await, &uri));
    }
    let token =
        bearer(&request).ok_or(ServiceError::Unauthenticated("sign in and send `Authorization: Bearer <token>`"))?;
    let origin = request.extensions().get::<Origin>().cloned().unwrap_or_default();
    let mut principal = access::authenticate(&guard.app, token, origin).await?;
    let _share = guard.shares.try_take(&principal.tenant).ok_or_else(problem::busy)?;
    // What is not UTF-8 names nothing, for whoever may ask.
    let parameters = parameters.map_err(|_| ServiceError::NotFound)?;
    require(&guard, &principal, &parameters)?;
    if guard.needs == Needs::PluginRoute {
        // Also before an answer is given again.
        let (plugin, path) = apps::named(&uri).ok_or(ServiceError::NotFound)?;
        routes::admit(&guard.app, &principal, plugin, apps::method(request.method()), path).await?;
    }
    if let Some(status) = guard.repeatable
        && let Some(key) = idempotency_key(request.headers())?
    {
        let (identified, digest) = digest(request).await?;
        request = identified;
        principal.idempotency = Some(Idempotency { key, request_hash: digest, status: status.as_u16() });
    }
    let response = match &principal.idempotency {
        None => run(&guard, principal, request, next).await,
        Some(key) => once(&guard, principal.clone(), key.clone(), request, next).await?,
    };
    let response = located(response, &uri);
    Ok(match asked {
        Some(headers) => unless_known(&headers, response),
        None => response,
    })
}

/// Answer a request anew, if the tenant has room for what comes of it.
async fn run(guard: &Guard, principal: Principal, mut request: Request, next: Next) -> Response {
    if let Err(refused) = storage::require_room(&guard.app, principal.tenant, guard.room).await {
        return Problem::from(refused).into_response();
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}

/// Answer a request that names a key: anew, or as it was answered before. One that meets
/// its own repetition waits for neither: whichever commits second is answered as the first.
async fn once(
    guard: &Guard,
    principal: Principal,
    key: Idempotency,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Guard { app, needs, .. } = guard;
    if let Some(replay) = idempotency::find(app, &principal, &key).await? {
        return replayed(*needs, replay);
    }
    let response = run(guard, principal.clone(), request, next).await;
    // The same request may have been done meanwhile, and be what this one stumbled over.
    if response.status().as_u16() >= 400
        && let Some(replay) = idempotency::find(app, &principal, &key).await?
    {
        return replayed(*needs, replay);
    }
    Ok(response)
}

fn replayed(needs: Needs, replay: Replay) -> Result<Response, Problem> {
    let mut response = if needs == Needs::PluginRoute {
        apps::response(routes::replayed(replay)?)
    } else {
        let status = StatusCode::from_u16(replay.status).map_err(ServiceError::internal)?;
        Reply::new(status, replay.body)?.into_response()
    };
    response.headers_mut().insert("idempotency-replayed", axum::http::HeaderValue::from_static("true"));
    Ok(response)
}

fn require(guard: &Guard, principal: &Principal, parameters: &RawPathParams) -> Result<(), Problem> {
    let named = |name: &str| parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value);
    match guard.needs {
        // Whoever serves a route knows what it needs.
        Needs::Nothing | Needs::SignedIn | Needs::PluginRoute => {}
        Needs::Permission(resource, action) => access::require(principal, &Permission::new(resource, action))?,
        Needs::Files => access::require(principal, &Permission::new(format!("{}.{FILES}", named("plugin")), "read"))?,
        Needs::Collection(action) => {
            let resource = format!("{}.{}", named("plugin"), named("collection"));
            access::require(principal, &Permission::new(resource, action))?;
        }
        Needs::Operator => access::require_operator(principal)?,
    }
    Ok(())
}

/// The key, with or without the quotes of a structured field.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if key.is_empty() || key.len() > KEY_CHARACTERS_MAX || !key.chars().all(|c| c.is_ascii_graphic()) {
        let why = format!("an Idempotency-Key has 1 to {KEY_CHARACTERS_MAX} visible ASCII characters");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "idempotency_key", why));
    }
    Ok(Some(key.to_owned()))
}

/// The same request, read, and a digest of what it asks.
async fn digest(request: Request) -> Result<(Request, String), Problem> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Problem::from_body_status(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a body has at most {BODY_BYTES_MAX} bytes, sent whole"),
        )
    })?;
    let mut hasher = blake3::Hasher::new();
    let target = parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.to_string(), |uri| uri.0.to_string());
    for part in [parts.method.as_str().as_bytes(), target.as_bytes(), &body] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    let digest = hasher.finalize().to_hex().to_string();
    Ok((Request::from_parts(parts, Body::from(body)), digest))
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
