//! What tests start from: a database of their own, a host over it, clients of that host.

mod client;
mod database;
mod host;
mod mailbox;
mod minter;

use std::path::PathBuf;

pub use client::{Answer, Client};
pub use database::Database;
pub use host::{Host, Options};
pub use mailbox::{Mail, Mailbox, token_in};
pub use minter::Minter;

/// A test that cannot run here says so; under CI that is a failure.
pub fn skipped(what: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what} must be tested in CI");
    eprintln!("NOT TESTED: {what} is not here; run `cargo xtask test`");
}

/// One id of everything that a tenant has.
pub async fn ids_of(client: &Client) -> Vec<String> {
    let mut ids = Vec::new();
    for path in ["users", "roles", "audit-logs", "events", "jobs", "auth/sessions", "api-keys", "invitations"] {
        let rows = client.rows(&format!("/api/v1/{path}")).await;
        ids.extend(rows.first().and_then(|row| row["id"].as_str()).map(str::to_owned));
    }
    ids
}

/// Figures in their full size when the promises are proven, smaller in an ordinary run.
pub fn figure(short: usize, full: usize) -> usize {
    if std::env::var("PURLIN_PROVE").is_ok_and(|value| value == "full") { full } else { short }
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
