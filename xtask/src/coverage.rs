//! `cargo xtask coverage`: which share of the lines of each room the tests run.
//!
//! Members of the workspace alone are instrumented. Hosts that a test kills write no profile
//! at their end, so counters are kept in the file while they count.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{shell, test};

/// Lines of these rooms that must be run, in percent.
const ROOMS: [&str; 3] = ["host/domain", "host/store", "host/service"];
const LINES_MIN: f64 = 85.0;

pub fn run() -> Result<()> {
    let (profdata, cov) = tools()?;
    let guests = test::Guests::build()?;
    let target = shell::root()?.join(shell::target()).join("coverage");
    let profiles = target.join("profiles");
    drop(fs::remove_dir_all(&profiles));
    fs::create_dir_all(&profiles)?;
    let wrapper = target.join("instrument");
    fs::write(
        &wrapper,
        "#!/bin/sh\nrustc=$1; shift\nexec \"$rustc\" \"$@\" --cfg coverage -C instrument-coverage -C llvm-args=-runtime-counter-relocation\n",
    )?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let instrumented = |command: &mut Command| {
        command
            .env("RUSTC_WORKSPACE_WRAPPER", &wrapper)
            .env("CARGO_TARGET_DIR", &target)
            .env("LLVM_PROFILE_FILE", profiles.join("%4m%c.profraw"));
    };
    shell::step("building the host and the tests, instrumented");
    let mut build = shell::cargo();
    build.args(["build", "--bins", "--tests"]).args(guests.selection());
    instrumented(&mut build);
    shell::run(&mut build)?;
    shell::step("running the tests");
    let services = test::Services::find()?;
    let mut tests = test::nextest()?;
    tests.arg("--no-fail-fast").args(guests.selection());
    instrumented(&mut tests);
    guests.equip(&mut tests, &target.join("debug/purlin"))?;
    services.tell(&mut tests);
    let passed = shell::run(&mut tests);
    forget_strays()?;

    let rooms = measure(&profdata, &cov, &target, &profiles)?;
    println!();
    let mut low = Vec::new();
    for (room, (covered, count)) in &rooms {
        let percent = 100.0 * *covered as f64 / (*count).max(1) as f64;
        println!("{room:<16} {covered:>6} of {count:>6} lines  {percent:6.2} %");
        if ROOMS.contains(&room.as_str()) && percent < LINES_MIN {
            low.push(room.as_str());
        }
    }
    passed?;
    ensure!(low.is_empty(), "less than {LINES_MIN} % of the lines of {} are run by the tests", low.join(", "));
    Ok(())
}

/// `llvm-profdata` and `llvm-cov` that read what this compiler writes: rustup's, or Debian's.
fn tools() -> Result<(PathBuf, PathBuf)> {
    let sysroot = PathBuf::from(shell::output(Command::new("rustc").args(["--print", "sysroot"]))?);
    let version = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or_default();
    let major = llvm.split('.').next().unwrap_or_default();
    let bin = sysroot.join("lib/rustlib").join(host).join("bin");
    let debian = |name: &str| PathBuf::from(format!("/usr/bin/{name}-{major}"));
    let found = [(bin.join("llvm-profdata"), bin.join("llvm-cov")), (debian("llvm-profdata"), debian("llvm-cov"))];
    let there = || found.iter().find(|(profdata, cov)| profdata.exists() && cov.exists()).cloned();
    if there().is_none() {
        shell::apt_install(&[&format!("llvm-{major}")]);
    }
    there()
        .with_context(|| format!("coverage takes `rustup component add llvm-tools`, or Debian's package llvm-{major}"))
}

/// The child that compiles components knows no environment: what it counts lies where it ran.
fn forget_strays() -> Result<()> {
    for entry in fs::read_dir("tests")?.flatten() {
        if entry.path().extension().is_some_and(|e| e == "profraw") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Lines that ran, and lines there are, of each room.
fn measure(profdata: &Path, cov: &Path, target: &Path, profiles: &Path) -> Result<BTreeMap<String, (u64, u64)>> {
    let merged = profiles.join("all.profdata");
    let raw: Vec<PathBuf> = fs::read_dir(profiles)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "profraw"))
        .collect();
    shell::run(Command::new(profdata).args(["merge", "-sparse"]).args(&raw).arg("-o").arg(&merged))?;
    let mut export = Command::new(cov);
    export.args(["export", "-summary-only", "-instr-profile"]).arg(&merged);
    for object in objects(target)? {
        export.arg("-object").arg(object);
    }
    export.arg("-ignore-filename-regex=/registry/|/rustc/|/rustlib/|/target/");
    let told: Value = serde_json::from_str(&shell::output(&mut export)?)?;
    let root = shell::root()?;
    let mut rooms = BTreeMap::new();
    for file in told["data"][0]["files"].as_array().into_iter().flatten() {
        let path = PathBuf::from(file["filename"].as_str().unwrap_or_default());
        let Ok(path) = path.strip_prefix(&root) else { continue };
        let Some((room, _)) = path.to_str().and_then(|path| path.split_once("/src/")) else { continue };
        let lines = &file["summary"]["lines"];
        let sum = rooms.entry(room.to_owned()).or_insert((0, 0));
        sum.0 += lines["covered"].as_u64().unwrap_or(0);
        sum.1 += lines["count"].as_u64().unwrap_or(0);
    }
    Ok(rooms)
}

/// The binaries that ran: the host, and every test binary of the last build.
fn objects(target: &Path) -> Result<Vec<PathBuf>> {
    let mut objects = vec![target.join("debug/purlin")];
    for entry in fs::read_dir(target.join("debug/deps"))?.flatten() {
        let path = entry.path();
        let is_program = path.extension().is_none() && entry.metadata()?.permissions().mode() & 0o111 != 0;
        if is_program {
            objects.push(path);
        }
    }
    Ok(objects)
}
