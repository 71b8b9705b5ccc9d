//! What tests start from: a database of their own, a host over it, clients of that host.

mod client;
pub mod corpus;
mod database;
mod host;
mod ledger;
mod mailbox;
mod minter;
mod postgres;
mod receiver;
mod redis;

use std::path::PathBuf;

pub use client::{Answer, Client};
pub use database::Database;
pub use host::{Host, Options};
pub use ledger::Ledger;
pub use mailbox::{Mail, Mailbox, token_in};
pub use minter::{Minter, code};
pub use postgres::Postgres;
pub use receiver::{Delivery, Receiver};
pub use redis::Redis;

/// A test that cannot run here says so; under CI that is a failure.
pub fn skipped(what: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what} must be tested in CI");
    eprintln!("NOT TESTED: {what} is not here; run `cargo xtask test`");
}

/// A tenant of this slug with something in every table: a plugin with records and jobs, a
/// key, an invitation, a second factor, an answer that is kept, tokens that wait in mails.
pub async fn furnish(host: &Host, slug: &str) -> Client {
    let client = host.tenant(slug).await;
    client.enable("inventory").await;
    let item = serde_json::json!({ "sku": "A-1", "name": slug, "stock": 20, "reorder_point": 10 });
    let item = client.create("inventory/items", item).await;
    client.create("inventory/movements", serde_json::json!({ "item_id": item, "quantity": -15 })).await;
    let key = serde_json::json!({ "name": "ci", "scopes": ["users:read"] });
    client.post("/api/v1/api-keys", &key).await.expect(201);
    let guest = serde_json::json!({ "email": format!("guest@{slug}.example") });
    client.post("/api/v1/invitations", &guest).await.expect(201);
    let keyed = client.request(reqwest::Method::POST, "/api/v1/roles").header("idempotency-key", "furnish-1");
    client.send(keyed.json(&serde_json::json!({ "name": "ops", "permissions": ["jobs:read"] }))).await.expect(201);
    let password = serde_json::json!({ "password": "correct horse battery" });
    let begun = client.post("/api/v1/auth/totp", &password).await.expect(201);
    let code = minter::code(begun["secret"].as_str().unwrap(), 0);
    client.post("/api/v1/auth/totp/confirm", &serde_json::json!({ "code": code })).await.expect(200);
    let hook = serde_json::json!({ "url": "https://example.org/hook", "event_types": ["never.happens"] });
    client.post("/api/v1/webhooks", &hook).await.expect(201);
    client.post("/api/v1/job-pauses", &serde_json::json!({ "kind": "never.runs" })).await.expect(201);
    let id = if host.database.is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" };
    let never = "'2099-01-01T00:00:00+00:00'";
    host.database
        .execute(&format!(
            "INSERT INTO schedules SELECT id, {id}, 'inventory', 'inventory.valuation', '0 0 1 1 *', 'UTC', 'once', {no}, {never},
                NULL, created_at, updated_at FROM tenants WHERE slug = '{slug}';
             INSERT INTO jobs (tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease,
                root_id, depth, finished_at, created_at, updated_at)
             SELECT id, {id}, 'inventory.valuation', 'inventory', '{{}}', 'dead', created_at, 1, 1, 0, 1, id, 0, created_at,
                created_at, updated_at FROM tenants WHERE slug = '{slug}';
             INSERT INTO plugin_secrets SELECT id, 'inventory', 'key-of-{slug}', {sealed}, created_at, updated_at, NULL, NULL
                FROM tenants WHERE slug = '{slug}';
             INSERT INTO plugin_files SELECT id, 'inventory', 'of-{slug}', {id}, 'text/plain', 7, 'x', created_at, updated_at, NULL, NULL
                FROM tenants WHERE slug = '{slug}';
             INSERT INTO record_locks SELECT id, 'inventory', 'of-{slug}', {id}, created_at FROM tenants WHERE slug = '{slug}';
             INSERT INTO stored_bytes SELECT id, 'furnished', created_at, 7, created_at, updated_at FROM tenants WHERE slug = '{slug}';
             INSERT INTO plugin_usage SELECT id, 'inventory', {never}, 1, 0, 1, 1, 1, 0, 0, created_at, updated_at
                FROM tenants WHERE slug = '{slug}';
             INSERT INTO plugin_invocations SELECT id, {id}, 'inventory', '1.0.0', 'job', 'of {slug}', 'ok', NULL, 1, 1, 1, 1, 1, NULL,
                NULL, created_at FROM tenants WHERE slug = '{slug}'",
            sealed = if host.database.is_postgres() { "'\\x01'" } else { "x'01'" },
            no = if host.database.is_postgres() { "false" } else { "0" },
        ))
        .await;
    client.settle().await;
    client.get("/api/v1/audit-logs/verify").await.expect(200);
    client
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

/// Tell a figure that a promise is judged by, with the test it comes from.
macro_rules! measured {
    ($($word:tt)*) => {{
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        println!("measured by {name}: {}", format_args!($($word)*));
    }};
}
pub(crate) use measured;

/// Whether the promises are being proven: figures in their full size, on a quiet machine.
pub fn proving() -> bool {
    std::env::var("PURLIN_PROVE").is_ok_and(|value| value == "full")
}

/// Figures in their full size when the promises are proven, smaller in an ordinary run.
pub fn figure(short: usize, full: usize) -> usize {
    if proving() { full } else { short }
}

/// A JSON string's text.
pub fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The component of this package, as `cargo xtask plugins` built it.
pub fn component(name: &str) -> Vec<u8> {
    find_component(name).unwrap_or_else(|| panic!("{name}.wasm is not there; run `cargo xtask test`"))
}

/// One that is built only where its language is.
pub fn find_component(name: &str) -> Option<Vec<u8>> {
    let directory =
        std::env::var("PURLIN_TEST_COMPONENTS").map_or_else(|_| target().join("wasm32-wasip2/plugin"), PathBuf::from);
    std::fs::read(directory.join(format!("{name}.wasm"))).ok()
}

fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().find(|path| path.ends_with("debug")).and_then(|debug| debug.parent()).unwrap().to_owned()
}
