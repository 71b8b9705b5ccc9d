//! How an invocation ends without the guest's own answer, and what can go wrong around it.

use purlin_domain::{error::Violation, limits::Limit};

/// Why the host ended an invocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It met a limit.
    #[error("stopped: the {0} limit was met")]
    Limit(Limit),
    /// It trapped: a panic, an unreachable, a broken call.
    #[error("trapped: {0}")]
    Trap(String),
    /// The host could not answer one of its calls.
    #[error("the host was unavailable: {0}")]
    Unavailable(String),
}

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
