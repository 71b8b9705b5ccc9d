//! The plugin's log, which the tenant's administrators read. Lines are kept even when
//! the invocation fails; 64 KiB of them at most.

use serde_json::Value;

use crate::bindings::purlin::platform::log as wit;

pub use wit::Level;

/// Write a line with structured fields.
pub fn write(level: Level, message: impl AsRef<str>, fields: Option<&Value>) {
    wit::write(level, message.as_ref(), fields.map(Value::to_string).as_deref());
}

/// Something of interest to the author.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message, None);
}

/// Something that happened.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message, None);
}

/// Something to look at.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message, None);
}

/// Something that failed.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message, None);
}
