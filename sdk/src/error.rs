//! How host calls fail, and how a handler fails.

use std::{fmt, time::Duration};

use crate::bindings::{exports::purlin::platform::guest, purlin::platform::types};

pub use types::{Limit, Violation};

/// Why the host refused a call. The call had no effect; the plugin may handle it and go on.
#[derive(Clone, Debug)]
pub enum Error {
    /// The acting principal lacks this permission.
    Denied(String),
    /// The tenant did not grant this permission to the plugin.
    NotGranted(String),
    /// There is no such thing in this tenant.
    NotFound,
    /// The thing changed since it was read, or a unique key is taken.
    Conflict(String),
    /// The input is not acceptable: where, and why.
    Invalid(Vec<Violation>),
    /// A limit was met.
    Limit(Limit),
    /// What is stored is not of the type asked for: another version of the plugin wrote it.
    Unreadable(String),
    /// The platform could not answer now.
    Unavailable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(permission) => write!(f, "permission {permission} is missing"),
            Self::NotGranted(permission) => write!(f, "permission {permission} was not granted to this plugin"),
            Self::NotFound => f.write_str("not found"),
            Self::Conflict(detail) => write!(f, "conflict: {detail}"),
            Self::Invalid(violations) => {
                f.write_str("invalid")?;
                violations.iter().try_for_each(|v| write!(f, "; {} {}", v.pointer, v.detail))
            }
            Self::Limit(limit) => write!(f, "limit met: {limit:?}"),
            Self::Unreadable(detail) => write!(f, "what is stored has another type: {detail}"),
            Self::Unavailable(detail) => write!(f, "unavailable: {detail}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Denied(permission) => Self::Denied(permission),
            types::Error::NotGranted(permission) => Self::NotGranted(permission),
            types::Error::NotFound => Self::NotFound,
            types::Error::Conflict(detail) => Self::Conflict(detail),
            types::Error::Invalid(violations) => Self::Invalid(violations),
            types::Error::Limit(limit) => Self::Limit(limit),
            types::Error::Unavailable(detail) => Self::Unavailable(detail),
        }
    }
}

impl Error {
    /// An input that is wrong in one way: where, as a JSON Pointer, and why.
    pub fn invalid(pointer: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { pointer: pointer.to_owned(), detail: detail.into() }])
    }

    pub(crate) fn into_wit(self) -> types::Error {
        match self {
            Self::Denied(permission) => types::Error::Denied(permission),
            Self::NotGranted(permission) => types::Error::NotGranted(permission),
            Self::NotFound => types::Error::NotFound,
            Self::Conflict(detail) => types::Error::Conflict(detail),
            Self::Invalid(violations) => types::Error::Invalid(violations),
            Self::Limit(limit) => types::Error::Limit(limit),
            Self::Unreadable(detail) | Self::Unavailable(detail) => types::Error::Unavailable(detail),
        }
    }

    /// What the host keeps is not of the type asked for, which is not the caller's fault.
    pub(crate) fn unreadable(what: &str, error: &serde_json::Error) -> Self {
        Self::Unreadable(format!("{what}: {error}"))
    }

    /// An input that could not be read as JSON of its type, or be turned into JSON.
    pub(crate) fn shape(error: &serde_json::Error) -> Self {
        Self::Invalid(vec![Violation { pointer: String::new(), detail: error.to_string() }])
    }
}

/// How a handler fails. Nothing it wrote is kept.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Run it again, with growing pauses, until its attempts are used up.
    Retry(String),
    /// Run it again after this long, a day at most.
    RetryAfter(Duration, String),
    /// Never run it again: straight to the dead letters.
    Reject(String),
}

impl Failure {
    /// Run it again later.
    pub fn retry(why: impl Into<String>) -> Self {
        Self::Retry(why.into())
    }

    /// Never run it again.
    pub fn reject(why: impl Into<String>) -> Self {
        Self::Reject(why.into())
    }

    pub(crate) fn into_wit(self) -> guest::Failure {
        match self {
            Self::Retry(why) => guest::Failure::Retry(why),
            Self::RetryAfter(pause, why) => {
                guest::Failure::RetryAfter((u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), why))
            }
            Self::Reject(why) => guest::Failure::Reject(why),
        }
    }
}

/// With `?`: what may pass by itself (a conflict, an unavailable platform) is retried, the
/// rest is rejected, since running it again would end the same.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Conflict(_) | Error::Unavailable(_) => Self::Retry(error.to_string()),
            other => Self::Reject(other.to_string()),
        }
    }
}

/// Input that does not have the expected shape is rejected.
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Reject(error.to_string())
    }
}
