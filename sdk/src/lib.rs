//! Write plugins for Purlin.
//!
//! A plugin is a type that implements [`Plugin`] and one line that exports it:
//!
//! ```
//! use purlin_sdk::{Descriptor, Event, Failure, Plugin, log};
//!
//! struct Greeter;
//!
//! impl Plugin for Greeter {
//!     fn describe() -> Descriptor {
//!         Descriptor::new("greeter", "0.1.0", "Greeter").subscribe("greeter.guests.created")
//!     }
//!
//!     fn on_event(event: Event) -> Result<(), Failure> {
//!         log::info(format!("welcome, {}", event.subject.unwrap_or_default()));
//!         Ok(())
//!     }
//! }
//!
//! purlin_sdk::export!(Greeter);
//! # fn main() {}
//! ```
//!
//! Each call runs in a fresh instance, so nothing is kept in memory between two of them.
//! Everything a call does through this crate (records written, events published, jobs
//! enqueued, audit entries) takes effect together when it returns `Ok`, and not at all
//! when it returns `Err`, panics, or meets a limit. A call may be run again, after a
//! conflict or a crash: write it as a function of its input and the records.

pub mod access;
pub mod audit;
#[doc(hidden)]
pub mod bindings;
pub mod budget;
mod changes;
mod check;
mod descriptor;
mod error;
mod event;
pub mod events;
pub mod files;
pub mod http;
pub mod identity;
mod job;
pub mod jobs;
pub mod log;
mod plugin;
pub mod records;
mod request;
pub mod settings;
pub mod tenancy;

pub use check::{Outcome, Step, Verb, Write};
pub use descriptor::{Collection, Descriptor, EventType, JobKind, Route, Told};
pub use error::{Error, Failure, Limit, Violation};
pub use event::{Event, RecordChange};
pub use job::Job;
#[doc(hidden)]
pub use plugin::Adapter;
pub use plugin::Plugin;
pub use request::{Request, Response};
pub use serde_json::{Value, json};
