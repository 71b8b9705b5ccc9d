//! A line of a plugin's log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Json, Timestamp};

/// Characters of a line the host itself writes about an invocation, and of what it passes on of why
/// a guest refuses.
pub const LINE_CHARS_MAX: usize = 2_000;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Of interest to the author.
    Debug,
    /// What happened.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line, from the guest or about it.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// When it was written.
    pub time: Timestamp,
    /// How much it matters.
    pub level: LogLevel,
    /// The text; control characters are escaped.
    pub message: String,
    /// Structured fields; an object or null.
    pub fields: Json,
}

/// Text with its control characters escaped, so that a guest cannot forge lines or
/// drive a terminal.
pub fn escape_control(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape_control("a\r\nb\u{1b}[31m"), "a\\r\\nb\\u{1b}[31m");
    }
}
