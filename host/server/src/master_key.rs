//! The master key: given by path, or made at first run. Everything secret in the database
//! is sealed under it, so losing it loses that.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use purlin_service::secrets::Secrets;

use crate::{config::Config, data_dir};

/// Put a new key before the others, in a file that is there as a whole or not at all.
pub(crate) fn rotate(config: &Config) -> Result<PathBuf, String> {
    load(config)?;
    let path = path(config);
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let before = fs::read_to_string(&path).map_err(wrong)?;
    let next = path.with_extension("new");
    data_dir::write_secret(&next, &format!("{}\n{}\n", Secrets::generate(), before.trim()))?;
    fs::rename(&next, &path).map_err(wrong)?;
    Ok(path)
}

fn path(config: &Config) -> PathBuf {
    config.master_key_file.clone().unwrap_or_else(|| config.data_dir.join("master.key"))
}

/// Read the keys, making it first when it is not given and not there yet.
pub(crate) fn load(config: &Config) -> Result<Secrets, String> {
    let path = path(config);
    if config.master_key_file.is_none() && !path.exists() {
        data_dir::write_secret(&path, &Secrets::generate())?;
        tracing::info!(file = %path.display(), "made a master key; keep a copy of it");
    }
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let mode = fs::metadata(&path).map_err(wrong)?.permissions().mode();
    if mode & 0o007 != 0 {
        let name = path.display();
        return Err(format!(
            "{name}: everybody may read the master key (mode {:04o}); `chmod 600 {name}`",
            mode & 0o7777
        ));
    }
    let text = fs::read_to_string(&path).map_err(wrong)?;
    Secrets::from_master(&text).map_err(|error| format!("{}: {error}", path.display()))
}
