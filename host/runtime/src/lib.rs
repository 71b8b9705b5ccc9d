//! Runs plugins: compiles components once, calls each in a fresh instance under limits,
//! and hands their calls to one small trait per host interface.
//!
//! Invariants: no SQL and no database connection here; one store per call, dropped after
//! it; nothing a guest does outlives its invocation but what the host trait gathered.

mod bindings;
mod cache;
mod compile;
mod engine;
mod error;
pub mod host;
mod inspect;
mod invoke;
mod limiter;
mod log;
mod meter;
mod runtime;
mod state;
mod wasi;

pub use compile::{Compiler, compile, compile_stdin_to_stdout};
pub use error::RuntimeError;
pub use host::Host;
pub use inspect::{Inspected, digest};
pub use invoke::{Call, Invocation, Returned};
pub use runtime::{Config, Prepared, Runtime};
