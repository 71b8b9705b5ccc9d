//! The only room that holds SQL. One set of statements serves PostgreSQL and SQLite;
//! what only one of them has sits in `postgres.rs` or `sqlite.rs`.
//!
//! Every use is a transaction of one tenant ([`TenantTx`]) or, for the few things that
//! cross tenants, of the platform ([`PlatformTx`]).
#![forbid(unsafe_code)]

pub mod api_keys;
pub mod audit;
pub mod audit_chain;
mod built;
pub mod bus;
mod conn;
mod db;
mod document;
mod error;
pub mod events;
pub mod folds;
pub mod idempotency;
pub mod installations;
pub mod invitations;
pub mod job_pauses;
pub mod jobs;
pub mod migrate;
#[cfg(feature = "mutants")]
pub mod mutants;
mod nodelay;
pub mod one_time_tokens;
pub mod permissions;
mod platform_tx;
pub mod plugin_data;
pub mod plugin_files;
pub mod plugin_logs;
pub mod plugin_secrets;
pub mod plugin_usage;
pub mod plugins;
mod postgres;
pub mod publishers;
pub mod record_locks;
pub mod record_marks;
pub mod record_references;
pub mod records;
pub mod roles;
pub mod schedules;
pub mod sealed;
pub mod second_factors;
pub mod sessions;
pub mod shares;
pub mod signing_keys;
mod sqlite;
pub mod standing;
mod tenant_tx;
pub mod tenants;
pub mod usage;
pub mod users;
mod value;
pub mod webhooks;
pub mod workers;

pub use built::{Listing, Page, Slice};
pub use conn::{Entity, Weigh};
pub use db::{Config, Db};
pub use error::{Result, StoreError};
pub use platform_tx::PlatformTx;
pub use tenant_tx::TenantTx;
pub use value::Bind;
