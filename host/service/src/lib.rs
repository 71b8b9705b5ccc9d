//! What the platform does: register, sign in, grant, publish, enqueue, install, and the
//! unit of work of an invocation. One transaction of a tenant per use. Knows neither
//! HTTP nor Wasm.
#![forbid(unsafe_code)]

pub mod access;
mod access_cache;
pub mod api_keys;
pub mod audit;
pub mod auth;
pub mod breaker;
mod catalog;
mod change;
pub mod checkpoints;
mod checks;
pub mod egress;
mod error;
pub mod events;
pub mod files;
mod folds;
pub mod guests;
pub mod idempotency;
mod indexes;
pub mod installations;
pub mod invitations;
pub mod jobs;
pub mod keys;
pub mod ledger;
pub mod lifecycle;
mod limiter;
pub mod list;
pub mod mail;
pub mod maintenance;
pub mod metrics;
pub mod native;
mod opaque;
pub mod operator;
pub mod password;
pub mod personal;
mod platform;
pub mod plugin_files;
pub mod plugin_logs;
pub mod plugins;
pub mod publishers;
pub mod records;
pub mod reports;
pub mod roles;
pub mod routes;
pub mod schedules;
pub mod schema;
pub mod secrets;
pub mod storage;
pub mod tenants;
pub mod tokens;
pub mod trace;
pub mod unit;
pub mod users;
pub mod webhooks;

pub use catalog::{Enabled, Loaded};
pub use error::{DEFECT, Result, ServiceError};
pub use platform::{Outside, Platform, Settings};
pub use purlin_store as store;
