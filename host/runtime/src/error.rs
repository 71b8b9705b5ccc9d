//! What unwinds a guest, and what can go wrong around it.

use purlin_domain::{error::Violation, limits::Limit};

/// Why a component cannot be run or looked into.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It is not acceptable, and why.
    #[error("{}", purlin_domain::error::summary(.0))]
    Refused(Vec<Violation>),
    /// The engine, the cache or the compiler failed.
    #[error("{0}")]
    Failed(String),
}

impl RuntimeError {
    /// A component that is wrong in one way.
    pub(crate) fn refused(code: &str, detail: impl Into<String>) -> Self {
        Self::Refused(vec![Violation::new("", code, detail)])
    }

    /// A failure of the host's own.
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The error that unwinds a guest when a limit ends it.
#[derive(Debug, thiserror::Error)]
#[error("the {0} limit was met")]
pub(crate) struct LimitMet(pub(crate) Limit);

/// The error that unwinds a guest when a call without a typed error could not be answered.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HostUnavailable(pub(crate) String);
