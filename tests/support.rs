//! What tests start from: a database of their own, a host over it, clients of that host.

mod client;
mod database;
mod host;

use std::path::PathBuf;

pub use client::{Answer, Client};
pub use database::Database;
pub use host::{Host, Options};

/// A test that cannot run here says so; under CI that is a failure.
pub fn skipped(what: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what} must be tested in CI");
    eprintln!("NOT TESTED: {what} is not here; run `cargo xtask test`");
}

/// The component of this package, as `cargo xtask plugins` built it.
pub fn component(name: &str) -> Vec<u8> {
    let directory =
        std::env::var("PURLIN_TEST_COMPONENTS").map_or_else(|_| target().join("wasm32-wasip2/plugin"), PathBuf::from);
    let path = directory.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", path.display()))
}

fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().find(|path| path.ends_with("debug")).and_then(|debug| debug.parent()).unwrap().to_owned()
}
