//! Why the platform did not do as asked, in the caller's terms.

use std::time::Duration;

use purlin_domain::{
    error::{HostError, Violation},
    limits::Limit,
};
use purlin_store::StoreError;

/// What a guest is told of a defect of the platform.
pub const DEFECT: &str = "internal error";

/// The outcome of a service call.
pub type Result<T> = std::result::Result<T, ServiceError>;

/// Why the platform did not do as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// No valid credentials; the text says no more than the caller may know.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The password is right, and a code of the second factor is needed with it.
    #[error("send a code of the second factor, or a recovery code, as `code`")]
    SecondFactorRequired,
    /// Too many requests of this kind: how many are allowed at once, and when the next may come.
    #[error("too many requests; try again in {} s", .retry_after.as_millis().div_ceil(1_000).max(1))]
    TooMany {
        /// Requests allowed at once.
        limit: u32,
        /// When the next is allowed.
        retry_after: Duration,
        /// When all are allowed again.
        reset_after: Duration,
    },
    /// The `Idempotency-Key` was used for another request.
    #[error("this Idempotency-Key was used for another request; use a new one")]
    KeyReused,
    /// Another request under the same `Idempotency-Key` did this at the same moment.
    #[error("the same request was answered meanwhile")]
    Repeated,
    /// The caller lacks this permission within its own tenant.
    #[error("permission {0} is missing")]
    Forbidden(String),
    /// The tenant did not grant this permission to the plugin that needs it.
    #[error("the tenant did not grant {0} to the plugin")]
    NotGranted(String),
    /// This host does not offer it: a stable code, and words.
    #[error("{1}")]
    Closed(&'static str, &'static str),
    /// There is no such thing in the caller's tenant.
    #[error("not found")]
    NotFound,
    /// It is taken, or it changed meanwhile. A stable code, and words.
    #[error("{1}")]
    Conflict(&'static str, String),
    /// The version the caller expected is no longer the current one.
    #[error("it changed since it was read")]
    PreconditionFailed,
    /// The input is not acceptable.
    #[error("invalid input: {}", purlin_domain::error::summary(.0))]
    Invalid(Vec<Violation>),
    /// A query parameter is not acceptable: its name, and why.
    #[error("{1}")]
    BadParameter(String, String),
    /// A limit was met.
    #[error("limit: {0}")]
    Limit(Limit),
    /// A plugin did not answer as it should; a stable code. Its log tells more.
    #[error("the plugin did not answer as it should; its log says why")]
    Plugin(&'static str),
    /// The host paused the plugin because it failed again and again.
    #[error("the plugin failed again and again, and is paused; an administrator can enable it again")]
    Paused,
    /// The database takes too long for what was asked.
    #[error("this takes the database too long; ask for less, or filter by an indexed property")]
    TooSlow,
    /// Too much at once, or the database is away; the same request may be tried again.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A defect, or a broken installation. Goes to the log, never to the caller.
    #[error("internal error: {0}")]
    Internal(String),
}

impl ServiceError {
    /// An input that is wrong in one way.
    pub fn invalid(pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(pointer, code, detail)])
    }

    /// A defect: something that cannot be, was.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}

impl ServiceError {
    /// The same, about a part of the input at this pointer.
    pub(crate) fn within(self, pointer: &str) -> Self {
        match self {
            Self::Invalid(wrong) => {
                let at = |v: Violation| Violation { pointer: format!("{pointer}{}", v.pointer), ..v };
                Self::Invalid(wrong.into_iter().map(at).collect())
            }
            other => other,
        }
    }
}

impl ServiceError {
    /// The same, about an input that is the part at this pointer by itself.
    pub(crate) fn beyond(self, pointer: &str) -> Self {
        match self {
            Self::Invalid(wrong) => {
                let at = |v: Violation| {
                    let rest = v.pointer.strip_prefix(pointer).unwrap_or(&v.pointer).to_owned();
                    Violation { pointer: rest, ..v }
                };
                Self::Invalid(wrong.into_iter().map(at).collect())
            }
            other => other,
        }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(constraint) => {
                // Names of the schema are for the log.
                tracing::debug!(constraint, "a unique value is taken");
                Self::Conflict("conflict", "a value that must be unique is taken by another".to_owned())
            }
            StoreError::Race(_) => Self::Conflict("conflict", "another request changed the same thing".to_owned()),
            StoreError::Unacceptable(detail) => Self::invalid("", "value", detail),
            StoreError::Unavailable(error) => Self::Unavailable(error.to_string()),
            StoreError::TooSlow(_) => Self::TooSlow,
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<HostError> for ServiceError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Denied(permission) => Self::Forbidden(permission),
            HostError::NotGranted(permission) => Self::NotGranted(permission),
            HostError::NotFound => Self::NotFound,
            HostError::Conflict(detail) => Self::Conflict("conflict", detail),
            HostError::Invalid(violations) => Self::Invalid(violations),
            HostError::Limit(limit) => Self::Limit(limit),
            HostError::Failed(_) => Self::Plugin("plugin_failed"),
            HostError::Unavailable(detail) => Self::Unavailable(detail),
        }
    }
}

impl From<ServiceError> for HostError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Forbidden(permission) => Self::Denied(permission),
            ServiceError::NotGranted(permission) => Self::NotGranted(permission),
            ServiceError::Closed(_, detail) => Self::Denied(detail.to_owned()),
            ServiceError::NotFound => Self::NotFound,
            ServiceError::Conflict(_, detail) => Self::Conflict(detail),
            ServiceError::PreconditionFailed => Self::Conflict("it changed since it was read".to_owned()),
            ServiceError::Invalid(violations) => Self::Invalid(violations),
            ServiceError::BadParameter(name, detail) => Self::invalid(&format!("/{name}"), "parameter", detail),
            ServiceError::Limit(limit) => Self::Limit(limit),
            ServiceError::TooSlow => Self::Limit(Limit::QueryTime),
            ServiceError::Unauthenticated(detail) => Self::Unavailable(detail.to_owned()),
            error @ ServiceError::Plugin(_) => Self::Failed(error.to_string()),
            error @ ServiceError::Paused => Self::Unavailable(error.to_string()),
            error @ (ServiceError::SecondFactorRequired
            | ServiceError::TooMany { .. }
            | ServiceError::KeyReused
            | ServiceError::Repeated) => Self::Unavailable(error.to_string()),
            ServiceError::Unavailable(detail) => Self::Unavailable(detail),
            ServiceError::Internal(detail) => {
                tracing::error!(detail, "a host call failed");
                Self::Unavailable(DEFECT.to_owned())
            }
        }
    }
}
