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

use purlin_domain::error::HostError;

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
        use purlin_domain::limits::Limit;
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

/// The interface `types` has no functions.
impl<H: Host> wit::Host for crate::state::State<H> {}
