//! Requests that plugins send.

use std::time::Duration;

/// A request a plugin wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// Its method.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Headers, as the plugin gave them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long to wait for the whole answer.
    pub timeout: Option<Duration>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// Headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}
