//! Around every request: its id, its origin, one line in the log, the body of a problem.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, to_bytes},
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Version,
        header::{
            CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use ipnet::IpNet;
use purlin_domain::{
    audit::Origin,
    clock::{Clock, SystemClock},
    trace::Trace,
};
use purlin_service::trace::{Span, SpanKind};

use tokio::{sync::Semaphore, time::timeout};
use tower_http::timeout::TimeoutBody;
use tracing::Instrument;

use crate::{
    App, linger,
    problem::{self, Problem},
};

/// How an operation that took too long is told from others; no handler answers so.
pub(crate) const TIMED_OUT: StatusCode = StatusCode::REQUEST_TIMEOUT;
/// Between two pieces of a body; a client that is slower has gone, or means harm.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(8);
/// A body up to so long is waited for before its request takes room.
const AWAITED_BYTES_MAX: usize = 64 << 10;
const AWAITED_FOR: Duration = Duration::from_secs(20);
/// One in so many requests may be one whose long body still comes.
const RECEIVING_SHARE: usize = 4;
const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";
const USER_AGENT_BYTES_MAX: usize = 300;

/// What every request passes first.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) app: App,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub(crate) proxies: Arc<[IpNet]>,
}

/// Take or make the request's id and its span, pass the origin on, answer with the id.
pub(crate) async fn with_id(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| is_well_formed(id));
    let id = given.map_or_else(|| SystemClock.id().to_string(), str::to_owned);
    let trace = door.app.open_trace(told_trace(request.headers()));
    let agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    let origin = Origin {
        request_id: id.clone(),
        ip: client_ip(&request, &door.proxies),
        user_agent: agent.map(|agent| agent.chars().take(USER_AGENT_BYTES_MAX).collect()),
        trace: Some(trace),
    };
    request.extensions_mut().insert(origin);
    // Of the highest level, so that what is logged within has it whatever the filter is.
    let span = tracing::error_span!("request", trace_id = trace.id());
    let began = Instant::now();
    let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    let response = answer(&id, request, next).instrument(span).await;
    door.app.span_ended(trace, began.elapsed(), || told(&id, &method, route.as_ref(), response.status()));
    response
}

/// The span of a request that was answered.
fn told(id: &str, method: &Method, route: Option<&MatchedPath>, status: StatusCode) -> Span {
    let name = route.map_or_else(|| "HTTP".to_owned(), |route| format!("{method} {}", route.as_str()));
    Span::new(name, SpanKind::Server)
        .failed(status.is_server_error().then_some("failed"))
        .with("http.request.method", method.as_str())
        .with("http.route", route.map(MatchedPath::as_str))
        .with("http.response.status_code", status.as_u16())
        .with("purlin.request", id)
}

/// The trace that a request says it is part of. Two of them are none.
fn told_trace(headers: &HeaderMap) -> Option<Trace> {
    let mut told = headers.get_all(TRACEPARENT).iter();
    let only = told.next().filter(|_| told.next().is_none());
    only?.to_str().ok()?.parse().ok()
}

/// Answer with the request's id, and with the body of a problem where there is one.
async fn answer(id: &str, request: Request, next: Next) -> Response {
    let (method, path, began) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());

    let (parts, body) = request.into_parts();
    let (body, rest) = linger::split(Body::new(TimeoutBody::new(BODY_PAUSE_MAX, body)));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if !response.status().is_success() {
        rest.discard().await;
    }

    let ms = began.elapsed().as_millis();
    let status = response.status();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allow = response.headers().get(axum::http::header::ALLOW).cloned();
        response = problem.render(id, &path);
        response.headers_mut().extend(allow.map(|allow| (axum::http::header::ALLOW, allow)));
    } else if status == TIMED_OUT {
        response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the request took too long; try again")
            .render(id, &path);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Of what was asked to be done the answer may hold tokens and secrets.
    if !method.is_safe() {
        response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    if status.is_server_error() {
        tracing::warn!(%method, path, status = status.as_u16(), ms, request_id = id, "request failed");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), ms, request_id = id, "request");
    }
    response
}

/// Room for requests: all that run, and those of them whose bodies still come.
#[derive(Clone)]
pub(crate) struct Room {
    running: Arc<Semaphore>,
    receiving: Arc<Semaphore>,
}

impl Room {
    pub(crate) fn new(requests: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(requests)),
            receiving: Arc::new(Semaphore::new((requests / RECEIVING_SHARE).max(1))),
        }
    }
}

/// Let a request in while there is room, and turn it away at once while there is none: one
/// that waited would be answered when nobody waits for it any more. A body of ordinary
/// size takes no room while it comes; longer ones take a share of it at most, so that
/// senders who never end leave room for others.
pub(crate) async fn admit(State(room): State<Room>, request: Request, next: Next) -> Response {
    if let Err(problem) = check_headers(&request) {
        return problem.into_response();
    }
    // Whether the process lives is asked when it is busiest.
    if request.uri().path().starts_with("/health") {
        return next.run(request).await;
    }
    let Some(bytes) = announced(request.headers()) else {
        let (Ok(_receiving), Ok(_running)) = (room.receiving.try_acquire(), room.running.try_acquire()) else {
            return problem::busy().into_response();
        };
        return next.run(request).await;
    };
    let request = match received(request, bytes).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    match room.running.try_acquire() {
        Ok(_running) => next.run(request).await,
        Err(_) => problem::busy().into_response(),
    }
}

/// Refuse a request that does not say for which host it is, or says it twice (RFC 9112, 3.2), and a
/// compressed body, which nobody here expands.
fn check_headers(request: &Request) -> Result<(), Problem> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        let why = "send one Host header";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "host", why));
    }
    let codings = request.headers().get_all(CONTENT_ENCODING).iter();
    let is_plain = codings.into_iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_plain { Ok(()) } else { Err(Problem::content_coding()) }
}

/// How long the body is, where that is little enough to wait for it.
fn announced(headers: &HeaderMap) -> Option<usize> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let Some(length) = headers.get(CONTENT_LENGTH) else { return Some(0) };
    length.to_str().ok()?.parse().ok().filter(|bytes| *bytes <= AWAITED_BYTES_MAX)
}

/// The request with all of its body.
async fn received(request: Request, bytes: usize) -> Result<Request, Problem> {
    if bytes == 0 {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    match timeout(AWAITED_FOR, to_bytes(body, bytes)).await {
        Ok(Ok(body)) => Ok(Request::from_parts(parts, Body::from(body))),
        Ok(Err(_)) | Err(_) => Err(Problem::from_body_status(
            StatusCode::BAD_REQUEST,
            format!("the body of {bytes} bytes did not come whole; send it without long pauses"),
        )),
    }
}

/// The address of the client: of the connection, or what a proxy that is trusted says. Of
/// several proxies the last that is not trusted counts, since whoever it is wrote the rest.
fn client_ip(request: &Request, proxies: &[IpNet]) -> Option<IpAddr> {
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(forwarded(peer.ip().to_canonical(), request.headers(), proxies))
}

fn forwarded(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |ip: &IpAddr| proxies.iter().any(|net| net.contains(ip));
    let named = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let chain: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut client = peer;
    for hop in chain.iter().rev() {
        if !trusted(&client) {
            break;
        }
        let Some(ip) = address(hop) else { break };
        client = ip.to_canonical();
    }
    client
}

/// An address as proxies write it: bare, with a port, an IPv6 one in brackets, or quoted.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches('"');
    let bare = hop.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(hop, |(bare, _)| bare);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

fn is_well_formed(id: &str) -> bool {
    (8..=128).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_traceparents_are_none() {
        let one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = |values: &[&str]| {
            HeaderMap::from_iter(values.iter().map(|value| (TRACEPARENT.parse().unwrap(), value.parse().unwrap())))
        };
        assert_eq!(told_trace(&headers(&[one])).map(|trace| trace.to_string()).as_deref(), Some(one));
        for none in [headers(&[]), headers(&[one, one]), headers(&[&one.to_uppercase()]), headers(&["\u{e9}"])] {
            assert_eq!(told_trace(&none), None, "{none:?}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_who_the_client_is() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let from = |peer: &str, header: &str| {
            let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), header.parse().unwrap())]);
            forwarded(ip(peer), &headers, &proxies)
        };
        assert_eq!(from("192.0.2.9", "198.51.100.1"), ip("192.0.2.9"), "a stranger is not believed");
        assert_eq!(from("10.0.0.1", "198.51.100.1"), ip("198.51.100.1"));
        assert_eq!(from("10.0.0.1", "203.0.113.7, 198.51.100.1, 10.0.0.2"), ip("198.51.100.1"));
        assert_eq!(from("10.0.0.1", "nonsense"), ip("10.0.0.1"));
        assert_eq!(from("10.0.0.1", "198.51.100.1:4711, 10.0.0.2:80"), ip("198.51.100.1"));
        for written in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", "\"[2001:db8::1]:443\""] {
            assert_eq!(from("10.0.0.1", written), ip("2001:db8::1"), "{written}");
        }
        assert_eq!(forwarded(ip("10.0.0.1"), &HeaderMap::new(), &proxies), ip("10.0.0.1"));
    }
}
