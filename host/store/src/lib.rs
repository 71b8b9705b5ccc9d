//! The only room that holds SQL. One set of statements serves PostgreSQL and SQLite;
//! what only one of them has sits in `postgres.rs` or `sqlite.rs`.
//!
//! Every use is a transaction of one tenant ([`TenantTx`]) or, for the few things that
//! cross tenants, of the platform ([`PlatformTx`]).
#![forbid(unsafe_code)]

pub mod audit;
mod built;
pub mod bus;
mod conn;
mod db;
mod error;
pub mod events;
pub mod installations;
pub mod jobs;
pub mod migrate;
pub mod permissions;
mod platform_tx;
pub mod plugin_logs;
pub mod plugins;
mod postgres;
pub mod records;
pub mod roles;
mod sqlite;
mod tenant_tx;
pub mod tenants;
pub mod users;
mod value;

pub use built::{Listing, Page};
pub use conn::{Entity, Weigh};
pub use db::{Config, Db};
pub use error::{Result, StoreError};
pub use platform_tx::PlatformTx;
pub use tenant_tx::TenantTx;
pub use value::Bind;
