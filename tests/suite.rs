//! Every test that needs more than one crate, in one binary. `api/` mirrors the URLs.

mod api;
mod architecture;
mod engine;
mod faults;
mod parity;
mod plugins;
mod schema;
mod security;
mod store;
mod support;
