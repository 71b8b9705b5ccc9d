//! Around every request: its id, its origin, one line in the log, the body of a problem.

use std::{net::SocketAddr, time::Instant};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderValue, StatusCode, header::USER_AGENT},
    middleware::Next,
    response::Response,
};
use purlin_domain::{
    audit::Origin,
    clock::{Clock, SystemClock},
};

use crate::{linger, problem::Problem};

/// How an operation that took too long is told from others; no handler answers so.
pub(crate) const TIMED_OUT: StatusCode = StatusCode::REQUEST_TIMEOUT;
const REQUEST_ID: &str = "x-request-id";
const USER_AGENT_BYTES_MAX: usize = 300;

/// Take or make the request's id, pass the origin on, answer with both.
pub(crate) async fn with_id(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| is_well_formed(id));
    let id = given.map_or_else(|| SystemClock.id().to_string(), str::to_owned);
    let agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    let origin = Origin {
        request_id: id.clone(),
        ip: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip()),
        user_agent: agent.map(|agent| agent.chars().take(USER_AGENT_BYTES_MAX).collect()),
    };
    request.extensions_mut().insert(origin);
    let (method, path, began) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());

    let (parts, body) = request.into_parts();
    let (body, rest) = linger::split(body);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if !response.status().is_success() {
        rest.discard().await;
    }

    let ms = began.elapsed().as_millis();
    let status = response.status();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allow = response.headers().get(axum::http::header::ALLOW).cloned();
        response = problem.render(&id, &path);
        response.headers_mut().extend(allow.map(|allow| (axum::http::header::ALLOW, allow)));
    } else if status == TIMED_OUT {
        response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the request took too long; try again")
            .render(&id, &path);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if status.is_server_error() {
        tracing::warn!(%method, path, status = status.as_u16(), ms, request_id = id, "request failed");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), ms, request_id = id, "request");
    }
    response
}

fn is_well_formed(id: &str) -> bool {
    (8..=128).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
