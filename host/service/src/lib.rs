//! What the platform does: register, sign in, grant, publish, enqueue, install, and the
//! unit of work of an invocation. One transaction of a tenant per use. Knows neither
//! HTTP nor Wasm.
#![forbid(unsafe_code)]

pub mod access;
pub mod audit;
pub mod auth;
mod catalog;
mod change;
mod error;
pub mod events;
pub mod installations;
pub mod jobs;
pub mod keys;
pub mod list;
pub mod maintenance;
pub mod operator;
pub mod password;
mod platform;
pub mod plugin_logs;
pub mod plugins;
pub mod records;
mod schema;
pub mod tenants;
pub mod tokens;
pub mod unit;
pub mod users;

pub use catalog::{Enabled, Loaded};
pub use error::{Result, ServiceError};
pub use platform::{Platform, Settings};
pub use purlin_store as store;
