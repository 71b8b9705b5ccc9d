//! `cargo xtask bench`: what docs/performance.md reports. Figures are of this machine at
//! this moment; nothing is asserted.

use std::{fs, path::Path};

use anyhow::{Result, bail};

use crate::{
    bench_audit, bench_collections, bench_engine, bench_runtime, client::text, host::Host, plugins, private, shell,
};

const STARTS: usize = 20;

pub fn run(what: &str) -> Result<()> {
    match what {
        "start" => starts(),
        "audit" => bench_audit::run(),
        "collections" => bench_collections::run(),
        "engine" => bench_engine::run(),
        "runtime" => bench_runtime::run(),
        other => bail!("`{other}` is no bench; they are start, audit, collections, engine and runtime"),
    }
}

fn starts() -> Result<()> {
    let components = plugins::build(&plugins::all()?)?;
    shell::step("building the host with optimisations");
    shell::run(shell::cargo().args(["build", "--release", "--package", "purlin"]))?;
    let host = shell::target().join("release/purlin");
    let directory = std::env::temp_dir().join(format!("purlin-bench-{}", private::random()?));
    let measured = measure(&host, &directory, &components.iter().map(|(_, path)| path.as_path()).collect::<Vec<_>>());
    drop(fs::remove_dir_all(&directory));
    measured
}

fn measure(host: &Path, directory: &Path, components: &[&Path]) -> Result<()> {
    shell::step("preparing a data directory");
    let running = Host::start(host, directory, &[])?;
    println!("first start, from nothing: {} ms to the first answered request", running.start_time.as_millis());
    let client = running.operator()?;
    for component in components {
        let version = client.upload("/api/v1/plugins", &fs::read(component)?)?.expect(201)?;
        println!(
            "{}: {} bytes, compiled in {} ms, described itself in {} µs",
            text(&version, "/plugin")?,
            version["report"]["size_bytes"],
            version["report"]["compile_ms"],
            version["report"]["describe_us"]
        );
    }
    running.stop()?;

    shell::step("starting over the prepared directory");
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let running = Host::start(host, directory, &[])?;
        times.push(running.start_time.as_millis());
        running.stop()?;
    }
    times.sort_unstable();
    println!(
        "{STARTS} starts, process to first answered request: min {} ms, median {} ms, max {} ms",
        times[0],
        times[STARTS / 2],
        times[STARTS - 1]
    );
    Ok(())
}
