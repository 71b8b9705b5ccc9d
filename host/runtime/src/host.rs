//! The host interfaces, one folder entry each: a small trait that says what the platform
//! must answer, and the glue from the guest's call to it.

pub mod access;
pub mod audit;
pub mod budget;
pub mod events;
pub mod files;
pub mod http;
pub mod identity;
pub mod jobs;
mod log;
pub mod records;
pub mod settings;
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
    + files::Files
    + settings::Settings
    + http::Http
    + budget::Budget
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
        + files::Files
        + settings::Settings
        + http::Http
        + budget::Budget
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
            HostError::Failed(detail) | HostError::Unavailable(detail) => Self::Unavailable(detail),
            HostError::Limit(limit) => Self::Limit(limit.into()),
        }
    }
}

impl From<Limit> for wit::Limit {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::QueryRows => Self::QueryRows,
            Limit::Writes => Self::Writes,
            Limit::WriteBytes => Self::WriteBytes,
            Limit::Events => Self::Events,
            Limit::Jobs => Self::Jobs,
            Limit::AuditEntries => Self::AuditEntries,
            Limit::PayloadBytes => Self::PayloadBytes,
            Limit::ChainDepth => Self::ChainDepth,
            Limit::ChainSize => Self::ChainSize,
            Limit::QueuedJobs => Self::QueuedJobs,
            Limit::Fetches => Self::Fetches,
            Limit::ResponseBytes => Self::ResponseBytes,
            Limit::Files => Self::Files,
            Limit::FileBytes => Self::FileBytes,
            Limit::Storage
            | Limit::OtherBytes
            | Limit::QueryTime
            | Limit::Wall
            | Limit::Cpu
            | Limit::Memory
            | Limit::HostCalls
            | Limit::CallBytes
            | Limit::LiftedBytes => Self::Other(limit.to_string()),
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
            wit::Error::Limit(limit) => limit.into(),
            wit::Error::Unavailable(detail) => Self::Unavailable(detail),
        }
    }
}

/// A limit that a guest made up is none of ours.
impl From<wit::Limit> for HostError {
    fn from(limit: wit::Limit) -> Self {
        Self::Limit(match limit {
            wit::Limit::QueryRows => Limit::QueryRows,
            wit::Limit::Writes => Limit::Writes,
            wit::Limit::WriteBytes => Limit::WriteBytes,
            wit::Limit::Events => Limit::Events,
            wit::Limit::Jobs => Limit::Jobs,
            wit::Limit::AuditEntries => Limit::AuditEntries,
            wit::Limit::PayloadBytes => Limit::PayloadBytes,
            wit::Limit::ChainDepth => Limit::ChainDepth,
            wit::Limit::ChainSize => Limit::ChainSize,
            wit::Limit::QueuedJobs => Limit::QueuedJobs,
            wit::Limit::Fetches => Limit::Fetches,
            wit::Limit::ResponseBytes => Limit::ResponseBytes,
            wit::Limit::Files => Limit::Files,
            wit::Limit::FileBytes => Limit::FileBytes,
            wit::Limit::Other(name) => return Self::Conflict(format!("the plugin met a limit of its own: {name}")),
        })
    }
}

/// The interface `types` has no functions.
impl<H: Host> wit::Host for crate::state::State<H> {}
