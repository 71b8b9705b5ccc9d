//! The words of the platform: ids, tenant, principal, permission, event, job,
//! descriptor, limits, filter tree, clock. No I/O and no async here, so that every
//! other room can depend on this one.
#![forbid(unsafe_code)]

pub mod access;
pub mod address;
pub mod audit;
pub mod clock;
pub mod core_event;
pub mod cursor;
pub mod descriptor;
pub mod document;
pub mod error;
pub mod event;
pub mod fair;
pub mod fetch;
pub mod file;
pub mod filter;
pub mod guest;
pub mod id;
pub mod job;
pub mod limits;
pub mod log;
pub mod mark;
pub mod name;
pub mod number;
pub mod pattern;
pub mod plan;
pub mod principal;
pub mod record;
pub mod route;
pub mod sort;
pub mod tenant;
pub mod text;
pub mod trace;

/// An instant, always UTC, never finer than a microsecond.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
/// JSON as the platform passes it around.
pub type Json = serde_json::Value;
