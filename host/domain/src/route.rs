//! Requests to the routes of plugins, and what comes of an invocation.

use crate::limits::Limit;

/// A request to a route of a plugin, as the plugin receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestRequest {
    /// The request's id.
    pub id: String,
    /// Its method.
    pub method: String,
    /// The route, as the descriptor declares it.
    pub route: String,
    /// The path as called, below the plugin's own.
    pub path: String,
    /// The values of the route's parameters.
    pub params: Vec<(String, String)>,
    /// The query.
    pub query: Vec<(String, String)>,
    /// Headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a plugin answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestResponse {
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

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
