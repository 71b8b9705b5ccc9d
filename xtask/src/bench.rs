//! `cargo xtask bench`: what docs/performance.md reports. Figures are of this machine at
//! this moment; nothing is asserted.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    client::{Client, text},
    plugins, private, shell,
};

const STARTS: usize = 20;
const PASSWORD: &str = "the operator's password";

pub fn run() -> Result<()> {
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
    let (mut child, mut client, first) = start(host, directory)?;
    println!("first start, from nothing: {} ms to the first answered request", first.as_millis());
    let login = json!({ "email": "operator@purlin.local", "password": PASSWORD });
    let signed_in = client.post("/api/v1/auth/login", &login)?.expect(200)?;
    client.sign_in(&text(&signed_in, "/access_token")?);
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
    stop(&mut child)?;

    shell::step("starting over the prepared directory");
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let (mut child, _, time) = start(host, directory)?;
        stop(&mut child)?;
        times.push(time.as_millis());
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

/// Start the host; how long until it answered its first request.
fn start(host: &Path, directory: &Path) -> Result<(Child, Client, Duration)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let client = Client::new(&address);
    let began = Instant::now();
    let mut child = Command::new(host)
        .arg("serve")
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .env("PURLIN_LISTEN", &address)
        .env("PURLIN_DATA_DIR", directory)
        .env("PURLIN_OPERATOR_PASSWORD", PASSWORD)
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| host.display().to_string())?;
    for _ in 0..10_000 {
        if client.get("/health").is_ok_and(|answer| answer.status == 200) {
            return Ok((child, client, began.elapsed()));
        }
        if let Some(status) = child.try_wait()? {
            bail!("the host ended: {status}");
        }
        sleep(Duration::from_millis(2));
    }
    bail!("the host does not answer")
}

fn stop(child: &mut Child) -> Result<()> {
    shell::run(Command::new("kill").arg(child.id().to_string()))?;
    child.wait()?;
    Ok(())
}
