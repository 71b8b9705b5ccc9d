//! `cargo xtask fuzz`: requests made up from our own OpenAPI document, on both databases.
//! None may be answered by a 5xx. `cargo xtask test` runs it in short.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::{
    client::{Client, text},
    host::Host,
    plugins, private, shell,
    test::{self, Services},
};

const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Cases of the long form, over both databases.
const CASES: u64 = 50_000;
/// What would end the session that the cases are sent with; uploads, whose body is no JSON;
/// and the stream of events, which does not end.
const LEFT_OUT: &str =
    "^(POST /api/v1/auth/logout|POST /api/v1/auth/password/change|POST /api/v1/plugins|GET /api/v1/events/stream)$";

/// The long form, or the short one.
pub fn run(in_short: bool) -> Result<()> {
    test::build()?;
    let services = Services::find()?;
    if in_short {
        short(&services)?;
    } else {
        long(&services)?;
    }
    services.report()
}

/// As many rounds as it takes; how many cases, if there was anything to make them with. The
/// host is built already.
pub fn long(services: &Services) -> Result<Option<u64>> {
    fuzz_until(services, CASES, 150)
}

/// The short form; the host is built already.
pub fn short(services: &Services) -> Result<()> {
    shell::step("fuzzing the API, in short");
    fuzz_until(services, 1, 3).map(drop)
}

fn fuzz_until(services: &Services, wanted: u64, examples: u32) -> Result<Option<u64>> {
    let Some(programs) = python_tool("schemathesis", SCHEMATHESIS) else {
        println!("NOT TESTED: the API was not fuzzed; it takes python3 with venv and pip, and PyPI");
        ensure!(std::env::var("CI").as_deref() != Ok("true"), "the API must be fuzzed in CI");
        return Ok(None);
    };
    let program = programs.join("schemathesis");
    let (mut cases, mut seed) = (0, 1);
    while cases < wanted {
        cases += round(&program, services, examples, seed)?;
        seed += 1;
    }
    println!("{cases} cases generated from the OpenAPI document, on {}: 0 answers of 5xx", services.databases());
    Ok(Some(cases))
}

/// One round on each database, at the same time; how many cases.
fn round(program: &Path, services: &Services, examples: u32, seed: u32) -> Result<u64> {
    let Some(server) = &services.postgres else { return fuzz(program, &[], "SQLite", examples, seed) };
    thread::scope(|scope| {
        let embedded = scope.spawn(|| fuzz(program, &[], "SQLite", examples, seed));
        let served = with_database(server, |url| fuzz(program, &[("DATABASE_URL", url)], "PostgreSQL", examples, seed));
        let embedded = embedded.join().map_err(|_| anyhow!("fuzzing the API on SQLite panicked"))?;
        Ok(embedded? + served?)
    })
}

/// Do this over a fresh database of the server, which is gone afterwards.
pub fn with_database<T>(server: &str, work: impl FnOnce(String) -> Result<T>) -> Result<T> {
    let name = format!("purlin_xtask_{}", private::random()?.get(..12).unwrap_or("x"));
    let sql = |statement: String| {
        let mut psql = Command::new("psql");
        shell::run(psql.args(["--quiet", "--no-psqlrc", server, "--command"]).arg(statement))
    };
    sql(format!("CREATE DATABASE {name}"))?;
    let (base, _) = server.rsplit_once('/').context("a PostgreSQL URL names a database")?;
    let done = work(format!("{base}/{name}"));
    sql(format!("DROP DATABASE {name} WITH (FORCE)"))?;
    done
}

/// A Python tool in a virtual environment of its own below the target directory: its
/// programs. None where there is no Python, or no PyPI.
pub fn python_tool(name: &str, requirement: &str) -> Option<PathBuf> {
    let directory = std::path::absolute(shell::target()).ok()?.join("tools").join(name);
    let programs = directory.join("bin");
    let stamp = directory.join(requirement);
    if stamp.exists() {
        return Some(programs);
    }
    if !shell::succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
        shell::apt_install(&["python3-venv"]);
    }
    println!("installing {requirement} from PyPI");
    let made = shell::succeeds(Command::new("python3").args(["-m", "venv"]).arg(&directory))
        && shell::succeeds(Command::new(programs.join("pip")).args(["install", "--quiet", requirement]))
        && fs::write(&stamp, "").is_ok();
    made.then_some(programs)
}

fn fuzz(program: &Path, database: &[(&str, String)], name: &str, examples: u32, seed: u32) -> Result<u64> {
    let directory = std::env::temp_dir().join(format!("purlin-fuzz-{}", private::random()?));
    let mut environment = vec![
        ("PURLIN_AUTH_REQUESTS_PER_MINUTE", "1000000".to_owned()),
        ("PURLIN_AUTH_SLOWDOWN_MS", "0".to_owned()),
        ("PURLIN_POLL_MS", "500".to_owned()),
    ];
    environment.extend(database.iter().cloned());
    let host = Host::start(&test::host(), &directory, &environment)?;
    let token = prepare(&host)?;
    let report = directory.join("report.json");
    let done = Command::new(program)
        .arg("run")
        .arg(format!("http://{}/openapi.json", host.address))
        .args(["--no-color", "--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", &examples.to_string(), "--seed", &seed.to_string(), "--continue-on-failure"])
        .args(["--exclude-name-regex", LEFT_OUT, "--generation-database", "none", "--request-timeout", "30"])
        .args(["--report", "json", "--report-json-path"])
        .arg(&report)
        .current_dir(&directory)
        .output()?;
    let told: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap_or_default()).unwrap_or_default();
    let cases = told["test_cases"]["generated"].as_u64().unwrap_or(0);
    if !done.status.success() || cases == 0 {
        println!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        bail!("fuzzing the API on {name} failed; the host's log is {}", directory.join("host.log").display());
    }
    let mut client = Client::new(&host.address);
    client.sign_in(&token);
    client.get("/api/v1/users/me")?.expect(200).context("the token that the cases were sent with")?;
    println!("{name}: {cases} cases over {} operations", told["operations"]["tested"]);
    host.stop()?;
    drop(fs::remove_dir_all(&directory));
    Ok(cases)
}

/// A tenant with a plugin; the token of its administrator.
fn prepare(host: &Host) -> Result<String> {
    let operator = host.operator()?;
    for (_, component) in plugins::build(&plugins::all()?)? {
        operator.upload("/api/v1/plugins", &fs::read(component)?)?;
    }
    let (client, registered) = host.tenant("fuzzed")?;
    let token = text(&registered, "/access_token")?;
    client.post("/api/v1/installations", &json!({ "plugin": "inventory", "grants": "all" }))?.expect(201)?;
    Ok(token)
}
