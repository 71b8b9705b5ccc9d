//! The host interfaces, one folder entry each: a small trait that says what the platform
//! must answer, and the glue from the guest's call to it.

pub mod access;
pub mod audit;
pub mod events;
pub mod identity;
pub mod jobs;
mod log;
pub mod records;
pub mod tenancy;

use purlin_domain::{
    error::{HostError, Violation},
    limits::Limit,
};

use crate::bindings::purlin::platform::types as wit;

/// Everything the platform answers. The tenant and the authority are its own; no call
/// names them.
pub trait Host:
    tenancy::Tenancy
    + identity::Identity
    + access::Access
    + audit::Audit
    + events::Events
    + jobs::Jobs
    + records::Records
    + Send
    + 'static
{
}

impl<T> Host for T where
    T: tenancy::Tenancy
        + identity::Identity
        + access::Access
        + audit::Audit
        + events::Events
        + jobs::Jobs
        + records::Records
        + Send
        + 'static
{
}

impl From<HostError> for wit::Error {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Denied(permission) => Self::Denied(permission),
            HostError::NotGranted(permission) => Self::NotGranted(permission),
            HostError::NotFound => Self::NotFound,
            HostError::Conflict(detail) => Self::Conflict(detail),
            HostError::Invalid(violations) => Self::Invalid(
                violations.into_iter().map(|v| wit::Violation { pointer: v.pointer, detail: v.detail }).collect(),
            ),
            HostError::Unavailable(detail) => Self::Unavailable(detail),
            HostError::Limit(limit) => match limit {
                Limit::QueryRows => Self::Limit(wit::Limit::QueryRows),
                Limit::Writes => Self::Limit(wit::Limit::Writes),
                Limit::WriteBytes => Self::Limit(wit::Limit::WriteBytes),
                Limit::Events => Self::Limit(wit::Limit::Events),
                Limit::Jobs => Self::Limit(wit::Limit::Jobs),
                Limit::AuditEntries => Self::Limit(wit::Limit::AuditEntries),
                Limit::PayloadBytes => Self::Limit(wit::Limit::PayloadBytes),
                Limit::ChainDepth => Self::Limit(wit::Limit::ChainDepth),
                Limit::ChainSize => Self::Limit(wit::Limit::ChainSize),
                Limit::QueuedJobs => Self::Limit(wit::Limit::QueuedJobs),
                // These end the invocation or keep its commit; no call returns them.
                Limit::Storage | Limit::Wall | Limit::Cpu | Limit::Memory | Limit::HostCalls | Limit::CallBytes => {
                    Self::Unavailable(format!("the {limit} limit was met"))
                }
            },
        }
    }
}

/// How a guest refuses a request, in the host's own words.
impl From<wit::Error> for HostError {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Denied(permission) => Self::Denied(permission),
            wit::Error::NotGranted(permission) => Self::NotGranted(permission),
            wit::Error::NotFound => Self::NotFound,
            wit::Error::Conflict(detail) => Self::Conflict(detail),
            wit::Error::Invalid(violations) => {
                Self::Invalid(violations.into_iter().map(|v| Violation::new(v.pointer, "plugin", v.detail)).collect())
            }
            wit::Error::Limit(limit) => Self::Limit(limit.into()),
            wit::Error::Unavailable(detail) => Self::Unavailable(detail),
        }
    }
}

impl From<wit::Limit> for Limit {
    fn from(limit: wit::Limit) -> Self {
        match limit {
            wit::Limit::QueryRows => Self::QueryRows,
            wit::Limit::Writes => Self::Writes,
            wit::Limit::WriteBytes => Self::WriteBytes,
            wit::Limit::Events => Self::Events,
            wit::Limit::Jobs => Self::Jobs,
            wit::Limit::AuditEntries => Self::AuditEntries,
            wit::Limit::PayloadBytes => Self::PayloadBytes,
            wit::Limit::ChainDepth => Self::ChainDepth,
            wit::Limit::ChainSize => Self::ChainSize,
            wit::Limit::QueuedJobs => Self::QueuedJobs,
        }
    }
}

/// The interface `types` has no functions.
impl<H: Host> wit::Host for crate::state::State<H> {}
