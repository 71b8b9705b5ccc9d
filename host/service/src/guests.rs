//! What the service asks of whoever runs guests, beside jobs: answers to requests, and checks
//! of writes.

use std::{pin::Pin, sync::Arc};

use purlin_domain::{
    error::{HostError, Violation},
    guest::{Ended, Usage, WriteToCheck},
    limits::GuestLimits,
    log::LogLine,
    route::{GuestRequest, GuestResponse},
};

use crate::{Platform, Result, unit::Unit};

/// What is to come.
pub type Running<'a, A> = Pin<Box<dyn Future<Output = Result<Ran<A>>> + Send + 'a>>;

/// What a guest answers a request.
pub type Answer = std::result::Result<GuestResponse, HostError>;
/// What a guest says of a write.
pub type Checked = std::result::Result<(), Vec<Violation>>;

/// Runs guests.
pub trait RunGuests: Send + Sync {
    /// Let the component of this digest answer a request, its calls answered by this unit.
    fn answer<'a>(
        &'a self,
        platform: &'a Arc<Platform>,
        digest: &'a str,
        unit: Box<Unit>,
        request: GuestRequest,
        limits: GuestLimits,
    ) -> Running<'a, Answer>;

    /// Let it check a write.
    fn check<'a>(
        &'a self,
        platform: &'a Arc<Platform>,
        digest: &'a str,
        unit: Box<Unit>,
        write: WriteToCheck,
        limits: GuestLimits,
    ) -> Running<'a, Checked>;
}

/// What came of a call.
pub struct Ran<A> {
    /// The guest's answer, or why the host ended it.
    pub outcome: std::result::Result<A, Ended>,
    /// What it gathered.
    pub unit: Option<Box<Unit>>,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// What it took.
    pub usage: Usage,
}
