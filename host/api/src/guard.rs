//! The guard before every operation: who calls, and may they.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, Request, State},
    http::header::AUTHORIZATION,
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::MethodRouter,
};
use purlin_domain::{access::Permission, audit::Origin};
use purlin_service::{ServiceError, access};

use tower_http::timeout::TimeoutLayer;

use crate::{App, Needs, Operation, problem::Problem, request::TIMED_OUT};

/// The operation's handler behind its guard.
pub(crate) fn guarded(app: &App, operation: Operation) -> MethodRouter<App> {
    operation
        .handler
        .route_layer(from_fn_with_state((Arc::clone(app), operation.needs), admit))
        .route_layer(TimeoutLayer::with_status_code(TIMED_OUT, operation.timeout))
}

async fn admit(
    State((app, needs)): State<(App, Needs)>,
    parameters: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if needs == Needs::Nothing {
        return Ok(next.run(request).await);
    }
    let token =
        bearer(&request).ok_or(ServiceError::Unauthenticated("sign in and send `Authorization: Bearer <token>`"))?;
    let origin = request.extensions().get::<Origin>().cloned().unwrap_or_default();
    let principal = access::authenticate(&app, token, origin).await?;
    match needs {
        Needs::Nothing | Needs::SignedIn => {}
        Needs::Permission(resource, action) => access::require(&principal, &Permission::new(resource, action))?,
        Needs::Collection(action) => {
            let named = |name: &str| parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value);
            let resource = format!("{}.{}", named("plugin"), named("collection"));
            access::require(&principal, &Permission::new(resource, action))?;
        }
        Needs::Operator => access::require_operator(&principal)?,
    }
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
