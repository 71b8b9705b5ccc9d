//! Errors as RFC 9457 problems. Details go to the log once, never to the client.

use std::{any::Any, time::Duration};

use axum::{
    Json,
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use purlin_domain::{error::Violation, limits::BODY_BYTES_MAX};
use purlin_service::ServiceError;
use serde::Serialize;
use serde_json::json;

/// A problem; [`crate::request::with_id`] writes its body, since it knows the request's id.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<ProblemPart>,
    rate: Option<Rate>,
    /// What the client may send instead.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// What the headers of a 429 say.
#[derive(Clone, Copy, Debug)]
struct Rate {
    limit: u32,
    retry_after: Duration,
    reset_after: Duration,
}

/// Whole seconds, rounded up: who waits that long is not too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
}

/// One of the things that are wrong.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum ProblemPart {
    Pointer { pointer: String, code: String, detail: String },
    Parameter { parameter: String, detail: String },
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: cut(detail.into()), errors: Vec::new(), rate: None, header: None }
    }

    pub(crate) fn bad_parameter(parameter: &str, detail: impl Into<String>) -> Self {
        ServiceError::BadParameter(parameter.to_owned(), detail.into()).into()
    }

    /// The whole answer.
    pub(crate) fn render(&self, request_id: &str, path: &str) -> Response {
        let body = json!({
            "type": format!("urn:purlin:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "instance": path,
            "code": self.code,
            "request_id": request_id,
            "errors": self.errors,
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => {
                let Rate { limit, retry_after, reset_after } = self.rate.unwrap_or(Rate {
                    limit: 0,
                    retry_after: Duration::from_secs(1),
                    reset_after: Duration::from_secs(1),
                });
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(retry_after).max(1)));
                headers.insert("ratelimit-limit", HeaderValue::from(limit));
                headers.insert("ratelimit-remaining", HeaderValue::from(0));
                headers.insert("ratelimit-reset", HeaderValue::from(seconds(reset_after).max(1)));
            }
            StatusCode::UNAUTHORIZED => {
                drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            StatusCode::SERVICE_UNAVAILABLE => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => {}
        }
        headers.extend(self.header.as_deref().cloned());
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        match error {
            ServiceError::Unauthenticated(_) => Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail),
            ServiceError::SecondFactorRequired => Self::new(StatusCode::UNAUTHORIZED, "second_factor_required", detail),
            ServiceError::TooMany { limit, retry_after, reset_after } => Self {
                rate: Some(Rate { limit, retry_after, reset_after }),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
            },
            ServiceError::KeyReused => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail),
            ServiceError::Repeated => Self::new(StatusCode::CONFLICT, "repeated", detail),
            ServiceError::NotGranted(_) => Self::new(StatusCode::FORBIDDEN, "not_granted", detail),
            ServiceError::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            ServiceError::Closed(code, _) => Self::new(StatusCode::FORBIDDEN, code, detail),
            ServiceError::NotFound => Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such thing here"),
            ServiceError::Conflict(code, _) => Self::new(StatusCode::CONFLICT, code, detail),
            ServiceError::PreconditionFailed => {
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail)
            }
            ServiceError::Invalid(violations) => Self {
                errors: violations.into_iter().map(part).collect(),
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the input is not acceptable; see `errors`")
            },
            ServiceError::BadParameter(parameter, why) => Self {
                errors: vec![ProblemPart::Parameter { parameter: cut(parameter), detail: cut(why) }],
                ..Self::new(StatusCode::BAD_REQUEST, "bad_parameter", "a parameter is not acceptable; see `errors`")
            },
            ServiceError::Plugin(code) => Self::new(StatusCode::BAD_GATEWAY, code, detail),
            ServiceError::Limit(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "limit", detail),
            ServiceError::Paused => Self::new(StatusCode::SERVICE_UNAVAILABLE, "plugin_paused", detail),
            ServiceError::TooSlow => Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail),
            ServiceError::Unavailable(why) => {
                tracing::warn!(why, "unavailable");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "the service is busy or its database is away; try again",
                )
            }
            ServiceError::Internal(why) => {
                tracing::error!(why, "internal error");
                Self::internal()
            }
        }
    }
}

impl Problem {
    fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong here; the request id leads to it in the log",
        )
    }
}

fn part(violation: Violation) -> ProblemPart {
    let Violation { pointer, code, detail } = violation;
    ProblemPart::Pointer { pointer: cut(pointer), code, detail: cut(detail) }
}

/// Characters of a detail at most: what it quotes may be as long as a request.
const DETAIL_CHARS_MAX: usize = 1_000;

fn cut(text: String) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The media type of a JSON Merge Patch (RFC 7396).
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

impl Problem {
    /// A body that is no JSON by its name.
    pub(crate) fn media_type(method: &Method) -> Self {
        let problem = |detail: &str| Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", detail);
        if *method == Method::PATCH {
            let header = (HeaderName::from_static("accept-patch"), HeaderValue::from_static(MERGE_PATCH));
            let detail = "send `Content-Type: application/merge-patch+json`, or `application/json`, in UTF-8";
            return Self { header: Some(Box::new(header)), ..problem(detail) };
        }
        problem("send `Content-Type: application/json`, in UTF-8")
    }

    /// A body that is compressed.
    pub(crate) fn content_coding() -> Self {
        let header = (header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let detail = "send the body as it is, without a Content-Encoding";
        Self {
            header: Some(Box::new(header)),
            ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_coding", detail)
        }
    }

    /// A body that could not be read, or is longer than an ordinary one may be.
    pub(crate) fn unread_body(status: StatusCode, detail: String) -> Self {
        let is_long = status == StatusCode::PAYLOAD_TOO_LARGE;
        let limit = || format!("a body has at most {BODY_BYTES_MAX} bytes; send less at once");
        Self::from_body_status(status, if is_long { limit() } else { detail })
    }

    /// A body that could not be read.
    pub(crate) fn from_body_status(status: StatusCode, detail: String) -> Self {
        let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "body" };
        Self::new(status, code, detail)
    }
}

/// More requests at once than the host takes.
pub(crate) fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the host is at its limit of requests at once; try again")
}

/// A path that leads nowhere.
pub(crate) async fn unknown_path(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
}

/// A path that does not know the method.
pub(crate) async fn unknown_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not know this method; see the Allow header",
    )
}

/// A defect that panicked.
#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(panic = text.unwrap_or_default(), "a handler panicked");
    Problem::internal().into_response()
}
