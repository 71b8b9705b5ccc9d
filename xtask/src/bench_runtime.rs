//! What invocations cost beside the bare runtime, and what very many enabled plugins cost a
//! host.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{fuzz::with_database, host::Host, plugins, private, shell, test::Services};

const TENANTS: u32 = 10_000;
const PLUGINS: u8 = 10;
/// Bytes of the fixture that tell its edition, and its name.
const MARK: &[u8] = b"story, edition A";
const NAME: &[u8] = b"story";

pub fn run() -> Result<()> {
    let built = plugins::build(&["probe".to_owned(), "story".to_owned()])?;
    let [(_, probe), (_, story)] = built.as_slice() else { bail!("the fixtures were not built") };
    shell::step("building the host and the bench with optimisations");
    shell::run(shell::cargo().args(["build", "--release", "--package", "purlin"]))?;
    let host = shell::target().join("release/purlin");
    let directory = std::env::temp_dir().join(format!("purlin-bench-{}", private::random()?));
    fs::create_dir_all(&directory)?;
    shell::step("invocations, in turns with the floor");
    let mut bench = shell::cargo();
    // With the package of the host, so that what both are built from is built once.
    bench.args(["bench", "--package", "purlin", "--package", "purlin-runtime", "--bench", "invoke", "--"]);
    // A bench runs in the folder of its package.
    let [probe, binary] = [probe.as_path(), host.as_path()].map(fs::canonicalize);
    let measured = shell::run(bench.arg(probe?).arg(binary?).arg(&directory));
    drop(fs::remove_dir_all(&directory));
    measured?;
    let services = Services::find()?;
    match services.postgres.clone() {
        Some(server) => with_database(&server, |url| crowd(&host, story, &url))?,
        None => println!("NOT MEASURED: PostgreSQL is not here"),
    }
    services.report()
}

/// A component under another name, in this edition: both of the same length.
fn edition(story: &[u8], number: u8, letter: u8) -> Result<Vec<u8>> {
    let mut bytes = story.to_vec();
    let at = bytes.windows(MARK.len()).position(|window| window == MARK).context("the fixture has no mark")?;
    if let Some(last) = bytes.get_mut(at + MARK.len() - 1) {
        *last = letter;
    }
    let name = format!("stor{}", char::from(b'a' + number));
    let places: Vec<usize> =
        bytes.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).map(|(at, _)| at).collect();
    for at in places {
        if let Some(place) = bytes.get_mut(at..at + NAME.len()) {
            place.copy_from_slice(name.as_bytes());
        }
    }
    Ok(bytes)
}

/// Very many tenants with many plugins each, beside a host without any.
fn crowd(host: &Path, story: &Path, url: &str) -> Result<()> {
    shell::step(&format!("{TENANTS} tenants with {PLUGINS} plugins each, of {} versions", PLUGINS * 2));
    let directory = std::env::temp_dir().join(format!("purlin-bench-{}", private::random()?));
    let environment = [("DATABASE_URL", url.to_owned()), ("PURLIN_LOG", "warn".to_owned())];
    let running = Host::start(host, &directory, &environment)?;
    let client = running.operator()?;
    let story = fs::read(story)?;
    for number in 0..PLUGINS {
        for letter in [b'A', b'B'] {
            client.upload("/api/v1/plugins", &edition(&story, number, letter)?)?.expect(201)?;
        }
    }
    running.stop()?;
    let running = Host::start(host, &directory, &environment)?;
    sleep(Duration::from_secs(5));
    let (idle, start) = (resident(running.pid())?, running.start_time);
    println!("without tenants: {} MiB, started in {} ms", idle >> 20, start.as_millis());
    running.stop()?;
    let sql = format!(
        "SET row_security = off;
         INSERT INTO tenants (id, name, slug, status, plan, settings, provisioned_at, created_at, updated_at)
            SELECT gen_random_uuid(), 'T ' || n, 't-' || n, 'active', 'unlimited', '{{}}', now(), now(), now() FROM generate_series(1, {TENANTS}) n;
         INSERT INTO installations (tenant_id, id, plugin, version_id, state, grants, created_at, updated_at)
            SELECT t.id, gen_random_uuid(), p.name, (SELECT v.id FROM plugin_versions v WHERE v.plugin = p.name
                ORDER BY hashtext(t.slug || v.version) LIMIT 1), 'enabled', jsonb_build_array(p.name || '.tales:*'), now(), now()
            FROM tenants t CROSS JOIN plugins p WHERE t.slug LIKE 't-%'"
    );
    psql(url, &sql)?;
    let running = Host::start(host, &directory, &environment)?;
    println!("with all of them: started in {} ms", running.start_time.as_millis());
    psql(
        url,
        "SET row_security = off;
         INSERT INTO jobs (tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease, root_id,
                depth, created_at, updated_at)
            SELECT i.tenant_id, i.id, 'core.lifecycle', i.plugin, '{\"step\":\"enabled\"}', 'ready', now(), 0, 10, 0, 0, i.id, 0,
                now(), now() FROM installations i",
    )?;
    let began = Instant::now();
    let left = || -> Result<u64> {
        Ok(psql(url, "SET row_security = off; SELECT count(*) FROM jobs WHERE state <> 'dead'")?.trim().parse()?)
    };
    while left()? > 0 {
        sleep(Duration::from_secs(2));
    }
    println!("each of them ran once: {} calls in {:.0} s", TENANTS * u32::from(PLUGINS), began.elapsed().as_secs_f64());
    let busy = resident(running.pid())?;
    sleep(Duration::from_secs(10));
    let after = resident(running.pid())?;
    let over = |bytes: u64| bytes.saturating_sub(idle) >> 20;
    println!(
        "memory over the host without tenants: {} MiB right after, {} MiB ten seconds later",
        over(busy),
        over(after)
    );
    running.stop()?;
    drop(fs::remove_dir_all(&directory));
    Ok(())
}

fn psql(url: &str, sql: &str) -> Result<String> {
    let mut command = Command::new("psql");
    let out = command
        .args([
            "--quiet",
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
            url,
            "--command",
            sql,
        ])
        .output()
        .context("psql")?;
    if !out.status.success() {
        bail!("psql: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status")))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1_024)
}
