//! `cargo xtask test`: every test, on both databases, with whatever of them is missing
//! installed and started.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{fuzz, generated_client, plugins, python_guest, shell};

const POSTGRES: &str = "PURLIN_TEST_POSTGRES_URL";
const REDIS: &str = "PURLIN_TEST_REDIS_URL";

/// The guests, built: the plugins of this checkout, and the one that tests are made with.
pub struct Guests {
    names: Vec<String>,
    /// Where their components lie.
    directory: PathBuf,
}

impl Guests {
    pub fn build() -> Result<Self> {
        let mut names = plugins::all()?;
        names.extend(["probe".to_owned(), "story".to_owned()]);
        let components = plugins::build(&names)?;
        let directory = components.first().and_then(|(_, path)| path.parent()).context("there are no plugins")?;
        python_guest::build(directory)?;
        Ok(Self { directory: fs::canonicalize(directory)?, names })
    }

    /// What is built and run, the same for both so that nothing is compiled twice: everything
    /// but the guests.
    pub fn selection(&self) -> Vec<&str> {
        let mut words = vec!["--workspace", "--features", "purlin/faults"];
        for name in &self.names {
            words.extend(["--exclude", name]);
        }
        words
    }

    /// Tell tests where the components are, and this host.
    pub fn equip(&self, test: &mut Command, host: &Path) -> Result<()> {
        test.env("PURLIN_TEST_COMPONENTS", &self.directory).env("PURLIN_TEST_BINARY", fs::canonicalize(host)?);
        Ok(())
    }
}

/// Build the guests, and after them the host, with fault points, and the tests.
pub fn build() -> Result<Guests> {
    let guests = Guests::build()?;
    shell::step("building the host, with fault points, and the tests");
    shell::run(shell::cargo().args(["build", "--bins", "--tests"]).args(guests.selection()))?;
    Ok(guests)
}

/// The host that [`build`] makes.
pub fn host() -> PathBuf {
    shell::target().join("debug/purlin")
}

pub fn run(filter: &[String]) -> Result<()> {
    let guests = build()?;
    let services = Services::find()?;

    shell::step("running the tests");
    let mut test = runner()?;
    test.args(guests.selection()).args(filter);
    guests.equip(&mut test, &host())?;
    services.tell(&mut test);
    shell::run(&mut test)?;
    if filter.is_empty() {
        fuzz::short(&services)?;
        generated_client::run()?;
        shell::step("running the examples in the documentation");
        shell::run(shell::cargo().args(["test", "--doc", "--package", "purlin-sdk"]))?;
    }
    services.report()
}

/// Let the test that holds the schema's document against the migrations write it instead.
pub fn write_schema() -> Result<()> {
    let services = Services::find()?;
    let mut test = shell::cargo();
    test.args(["test", "--package", "purlin-tests", "--", "the_document_of_the_schema"]).env("PURLIN_WRITE_DOCS", "1");
    services.tell(&mut test);
    shell::run(&mut test)?;
    services.report()
}

/// cargo-nextest where it is; cargo's own runner otherwise.
fn runner() -> Result<Command> {
    let mut cargo = shell::cargo();
    if has_nextest() {
        cargo.args(["nextest", "run"]);
    } else {
        println!("cargo-nextest is not installed (cargo install --locked cargo-nextest); using cargo test");
        cargo.arg("test");
    }
    Ok(cargo)
}

fn has_nextest() -> bool {
    shell::succeeds(shell::cargo().args(["nextest", "--version"]))
}

/// `cargo nextest run`, for what needs its filters.
pub fn nextest() -> Result<Command> {
    ensure!(has_nextest(), "this takes cargo-nextest: `cargo install --locked cargo-nextest`");
    let mut cargo = shell::cargo();
    cargo.args(["nextest", "run"]);
    Ok(cargo)
}

/// The databases under test.
pub struct Services {
    pub postgres: Option<String>,
    redis: Option<String>,
    _private: Vec<Private>,
}

/// A server of our own, ended with us.
struct Private {
    child: Child,
    directory: PathBuf,
}

impl Drop for Private {
    fn drop(&mut self) {
        shell::succeeds(Command::new("kill").arg(self.child.id().to_string()));
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

impl Services {
    pub fn find() -> Result<Self> {
        let mut private = Vec::new();
        let postgres = match std::env::var(POSTGRES) {
            Ok(url) => Some(url),
            Err(_) if listens(5432) => Some("postgres://postgres@127.0.0.1:5432/postgres".to_owned()),
            Err(_) => start_postgres(&mut private)?,
        };
        let redis = match std::env::var(REDIS) {
            Ok(url) => Some(url),
            Err(_) if listens(6379) => Some("redis://127.0.0.1:6379".to_owned()),
            Err(_) => start_redis(&mut private)?,
        };
        Ok(Self { postgres, redis, _private: private })
    }

    /// The databases, in words.
    pub fn databases(&self) -> &'static str {
        if self.postgres.is_some() { "both databases" } else { "SQLite alone" }
    }

    pub fn tell(&self, test: &mut Command) {
        test.envs(self.postgres.iter().map(|url| (POSTGRES, url))).envs(self.redis.iter().map(|url| (REDIS, url)));
    }

    /// A run without one of them is no full run.
    pub fn report(&self) -> Result<()> {
        let missing: Vec<&str> = [("PostgreSQL", self.postgres.is_none()), ("Redis", self.redis.is_none())]
            .into_iter()
            .filter_map(|(name, missing)| missing.then_some(name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.join(" and ");
        println!("\nNOT TESTED: everything that needs {names}. Install it, or set {POSTGRES} and {REDIS}.");
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            bail!("{names} must be tested in CI");
        }
        Ok(())
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(500)).is_ok()
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16, what: &str) -> Result<()> {
    for _ in 0..100 {
        if listens(port) {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    bail!("{what} did not start on port {port}")
}

/// A PostgreSQL of our own. Debian keeps its programs in a versioned folder; it refuses
/// to run as root, so it runs as the user `postgres` then.
fn start_postgres(private: &mut Vec<Private>) -> Result<Option<String>> {
    if postgres_programs().is_none() {
        shell::apt_install(&["postgresql"]);
    }
    let Some(programs) = postgres_programs() else { return Ok(None) };
    let directory = std::env::temp_dir().join(format!("purlin-test-postgres-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let root = shell::output(Command::new("id").arg("-u"))? == "0";
    if root {
        shell::run(Command::new("chown").arg("postgres").arg(&directory))?;
    }
    let as_postgres = |program: &str| {
        let program = programs.join(program);
        if root {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                .arg(program)
                .current_dir(&directory);
            command
        } else {
            Command::new(program)
        }
    };
    let data = directory.join("data");
    shell::run(
        as_postgres("initdb")
            .args(["--auth=trust", "--username=postgres", "--pgdata"])
            .arg(&data)
            .stdout(Stdio::null()),
    )?;
    let port = free_port()?;
    let child = as_postgres("postgres")
        .arg("-D")
        .arg(&data)
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
            "-p",
            &port.to_string(),
        ])
        .stderr(Stdio::null())
        .spawn()?;
    private.push(Private { child, directory });
    wait_for(port, "PostgreSQL")?;
    Ok(Some(format!("postgres://postgres@127.0.0.1:{port}/postgres")))
}

fn postgres_programs() -> Option<PathBuf> {
    let versions =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    versions.chain(on_path).find(|directory| directory.join("initdb").exists() && directory.join("postgres").exists())
}

fn start_redis(private: &mut Vec<Private>) -> Result<Option<String>> {
    let there = || shell::succeeds(Command::new("redis-server").arg("--version"));
    let installed = there() || (shell::apt_install(&["redis-server"]) && there());
    if !installed {
        return Ok(None);
    }
    let port = free_port()?;
    let directory = std::env::temp_dir().join(format!("purlin-test-redis-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(Path::new(&directory))
        .stdout(Stdio::null())
        .spawn()?;
    private.push(Private { child, directory });
    wait_for(port, "Redis")?;
    Ok(Some(format!("redis://127.0.0.1:{port}")))
}
