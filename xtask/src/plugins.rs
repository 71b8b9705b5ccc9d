//! Building components: with rustup's wasm32-wasip2 target where it can be had, with
//! Debian's Rust for the web otherwise.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::shell;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "plugin";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";
const DEBIAN_PACKAGES: [&str; 7] =
    ["rustc-web", "cargo-web", "libstd-rust-web-dev", "rust-web-src", "wasi-libc", "rust-web-llvm", "lld-22"];

/// The plugins of this checkout, by name.
pub fn all() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("plugins").context("plugins/")? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

enum Toolchain {
    /// The Rust that runs this, with its own std for the target.
    Own,
    /// Debian's, which builds std from source.
    Debian,
}

/// Build these packages; where each component lies.
pub fn build(names: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let toolchain = toolchain()?;
    let mut cargo = shell::cargo();
    let mut directory = shell::target();
    cargo.args(["build", "--profile", PROFILE, "--target", TARGET]);
    for name in names {
        cargo.args(["--package", name]);
    }
    if matches!(toolchain, Toolchain::Debian) {
        directory = directory.join("debian-wasm");
        cargo
            .arg("-Zbuild-std=std,panic_abort")
            .arg("--target-dir")
            .arg(&directory)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", DEBIAN_RUSTC)
            .env("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", "-Lnative=/usr/lib/wasm32-wasi");
    }
    shell::run(&mut cargo)?;
    let directory = directory.join(TARGET).join(PROFILE);
    let component = |name: &String| (name.clone(), directory.join(format!("{}.wasm", name.replace('-', "_"))));
    Ok(names.iter().map(component).collect())
}

fn toolchain() -> Result<Toolchain> {
    let forced = std::env::var("PURLIN_WASM_TOOLCHAIN").ok();
    if forced.as_deref() != Some("debian") {
        if has_own_target()? {
            shell::step(&format!("building plugins with this Rust and its {TARGET} target"));
            return Ok(Toolchain::Own);
        }
        println!("adding the {TARGET} target with rustup");
        if shell::succeeds(Command::new("rustup").args(["target", "add", TARGET])) && has_own_target()? {
            shell::step(&format!("building plugins with this Rust and its {TARGET} target"));
            return Ok(Toolchain::Own);
        }
        println!("rustup could not add it; looking for Debian's Rust for the web");
    }
    let installed = has_debian() || (shell::apt_install(&DEBIAN_PACKAGES) && has_debian());
    if !installed {
        bail!(
            "plugins need the {TARGET} target. Either run `rustup target add {TARGET}`,\n\
             or as root `apt-get install -y --no-install-recommends {}` (Debian 12 or newer)",
            DEBIAN_PACKAGES.join(" ")
        );
    }
    shell::step("building plugins with Debian's Rust for the web, std from source");
    Ok(Toolchain::Debian)
}

fn has_own_target() -> Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = shell::output(Command::new(rustc).args(["--print", "sysroot"]))?;
    Ok(Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib").exists())
}

fn has_debian() -> bool {
    Path::new(DEBIAN_RUSTC).exists()
        && Path::new("/usr/lib/wasm32-wasi").exists()
        && (Path::new(DEBIAN_SOURCE).exists()
            || shell::output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]))
                .is_ok_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library").exists()))
}
