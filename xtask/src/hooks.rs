//! `cargo xtask hooks`.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell;

const HOOK: &str = "#!/bin/sh
# Installed by `cargo xtask hooks`; delete this file to be rid of it.
set -e
cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
";

pub fn install() -> Result<()> {
    let directory = PathBuf::from(shell::output(Command::new("git").args(["rev-parse", "--git-path", "hooks"]))?);
    fs::create_dir_all(&directory)?;
    let file = directory.join("pre-commit");
    if fs::read_to_string(&file).is_ok_and(|present| present != HOOK) {
        bail!("{} is there already and not ours; remove it first", file.display());
    }
    fs::write(&file, HOOK).with_context(|| file.display().to_string())?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    println!("installed {}: it checks format and lints before every commit", file.display());
    Ok(())
}
