//! `cargo xtask bench collections`: what an index of a collection is worth to a list, and how
//! long it takes to make one of records that are there. On PostgreSQL.

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    bench_engine::median,
    client::{Client, text},
    fuzz::with_database,
    host::Host,
    plugins, private, shell,
    test::Services,
};

const RECORDS: usize = 100_000;
/// Lists that are asked for of each kind.
const LISTS: usize = 21;
const LIST: &str = "/api/v1/apps/inventory/movements";

pub fn run() -> Result<()> {
    let components = plugins::build(&["inventory".to_owned()])?;
    let inventory = components.into_iter().next().context("the inventory was not built")?.1;
    shell::step("building the host with optimisations");
    shell::run(shell::cargo().args(["build", "--release", "--package", "purlin"]))?;
    let services = Services::find()?;
    let server = services.postgres.clone().context("this takes a PostgreSQL")?;
    with_database(&server, |url| {
        let directory = std::env::temp_dir().join(format!("purlin-bench-{}", private::random()?));
        let environment = [("DATABASE_URL", url.clone()), ("PURLIN_LOG", "warn".to_owned())];
        let host = Host::start(&shell::target().join("release/purlin"), &directory, &environment)?;
        let measured = measure(&host, &url, &std::fs::read(&inventory)?);
        host.stop()?;
        drop(std::fs::remove_dir_all(&directory));
        measured
    })?;
    services.report()
}

fn measure(host: &Host, url: &str, inventory: &[u8]) -> Result<()> {
    host.operator()?.upload("/api/v1/plugins", inventory)?.expect(201)?;
    let (client, registered) = host.tenant("bench")?;
    let tenant = text(&registered, "/tenant/id")?;
    // Records of a collection whose plugin is not installed: what an uninstalled one leaves.
    sql(
        url,
        &format!(
            "INSERT INTO records (tenant_id, plugin, collection, id, version, data, created_at, updated_at)
             SELECT '{tenant}', 'inventory', 'movements', gen_random_uuid(), 1,
                jsonb_build_object('item_id', gen_random_uuid(), 'quantity', n, 'reason', repeat('x', 100)), now(), now()
             FROM generate_series(1, {RECORDS}) n"
        ),
    )?;
    sql(url, "ANALYZE records")?;
    client.post("/api/v1/installations", &json!({ "plugin": "inventory", "grants": "all" }))?.expect(201)?;
    let began = Instant::now();
    let queries = [
        ("one record", "filter[quantity]=77777"),
        ("a hundred", "filter[quantity][gt]=77700&filter[quantity][lte]=77800"),
    ];
    // While the index is made, lists read the collection.
    let before: Vec<f64> = queries.iter().map(|(_, query)| lists(&client, query)).collect::<Result<_>>()?;
    for _ in 0..3_000 {
        let installed = client.get("/api/v1/installations/inventory")?.expect(200)?;
        if installed["indexed"].as_array().is_some_and(|indexed| indexed.len() == 2) {
            println!("two indexes of {RECORDS} records: made in {:.1} s, beside lists", began.elapsed().as_secs_f64());
            sql(url, "ANALYZE record_marks")?;
            for ((what, query), before) in queries.iter().zip(before) {
                let after = lists(&client, query)?;
                println!(
                    "a list that finds {what}: {after:.1} ms, {before:.1} without an index: {:.0} times",
                    before / after
                );
            }
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    bail!("the indexes are not made")
}

/// The median time of a list, in ms.
fn lists(client: &Client, query: &str) -> Result<f64> {
    let mut took = Vec::new();
    for _ in 0..LISTS {
        let began = Instant::now();
        client.get(&format!("{LIST}?{query}"))?.expect(200)?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(median(&mut took))
}

fn sql(url: &str, statement: &str) -> Result<()> {
    let statement = format!("SET row_security = off; {statement}");
    shell::run(Command::new("psql").args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", url, "-c", &statement]))
}
