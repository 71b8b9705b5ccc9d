//! What can be wrong with an input, and how the host refuses a guest's call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::Limit;

/// One thing that is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// JSON Pointer (RFC 6901) to the offending value; empty for the whole input.
    pub pointer: String,
    /// A stable, machine-readable word, such as `required` or `format`.
    pub code: String,
    /// What is wrong, in words for the caller.
    pub detail: String,
}

impl Violation {
    /// A violation at `pointer`.
    pub fn new(pointer: impl Into<String>, code: &str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code: code.to_owned(), detail: detail.into() }
    }

    /// The same, where the input is the member or item of this name of a larger one.
    #[must_use]
    pub fn beneath(self, name: &str) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        Self { pointer: format!("/{name}{}", self.pointer), ..self }
    }
}

/// Why a host call of a guest was refused. The guest may handle it and go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The acting principal lacks this permission.
    #[error("permission {0} is missing")]
    Denied(String),
    /// The tenant did not grant this permission to the plugin.
    #[error("permission {0} was not granted to the plugin")]
    NotGranted(String),
    /// There is no such thing in this tenant.
    #[error("not found")]
    NotFound,
    /// The thing changed since it was read, or a unique key is taken.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The input is not acceptable.
    #[error("invalid: {}", summary(.0))]
    Invalid(Vec<Violation>),
    /// A limit was met; the call had no effect.
    #[error("limit: {0}")]
    Limit(Limit),
    /// A plugin, or a service out there, did not do its part.
    #[error("failed: {0}")]
    Failed(String),
    /// The platform could not answer now.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

impl HostError {
    /// An input that is wrong in one way.
    pub fn invalid(pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(pointer, code, detail)])
    }
}

/// The violations in one line, for a log or a message.
pub fn summary(violations: &[Violation]) -> String {
    let parts: Vec<String> = violations
        .iter()
        .map(|v| if v.pointer.is_empty() { v.detail.clone() } else { format!("{}: {}", v.pointer, v.detail) })
        .collect();
    parts.join("; ")
}
