//! A PostgreSQL of a test's own, that may be restarted and killed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

pub struct Postgres {
    pub url: String,
    programs: PathBuf,
    port: u16,
    directory: TempDir,
}

impl Postgres {
    /// None where there is no PostgreSQL to start, or nobody to start it as.
    pub fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        let programs = versions.map(|v| v.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max()?;
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let postgres =
            Self { url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), programs, port, directory };
        // It refuses to run as root.
        if is_root() {
            succeeds(Command::new("chown").arg("postgres").arg(postgres.directory.path())).then_some(())?;
        }
        let data = postgres.data();
        let mut init = postgres.program("initdb");
        init.arg("-D").arg(&data).args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        succeeds(&mut init).then_some(())?;
        postgres.control(&["start"]).then_some(postgres)
    }

    /// Take what a dump of another database has.
    pub fn restore(&self, from: &str) {
        let file = self.directory.path().join("dump.sql");
        let mut dump = Command::new(self.programs.join("pg_dump"));
        assert!(succeeds(dump.args(["-d", from, "-f"]).arg(&file)), "pg_dump writes");
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url, "-f"]).arg(&file);
        assert!(succeeds(psql.stdout(Stdio::null())), "psql reads it");
    }

    /// As a crash would, and up again.
    pub fn restart(&self) {
        assert!(self.control(&["-m", "immediate", "restart"]), "PostgreSQL restarts");
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn control(&self, what: &[&str]) -> bool {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c max_connections=60 -k {}",
            self.port,
            self.directory.path().display()
        );
        let mut control = self.program("pg_ctl");
        control
            .arg("-D")
            .arg(self.data())
            .args(["-w", "-s", "-o", &options, "-l"])
            .arg(self.directory.path().join("log"));
        succeeds(control.args(what))
    }

    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl");
        succeeds(stop.arg("-D").arg(self.data()).args(["-m", "immediate", "-s", "stop"]));
    }
}

fn is_root() -> bool {
    Path::new("/root").metadata().is_ok() && std::fs::read_dir("/root").is_ok()
}

fn succeeds(command: &mut Command) -> bool {
    command
        .current_dir("/tmp")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
