//! The data directory: for the host's eyes alone, and with the embedded database for one
//! host alone.

use std::{
    fs::{self, File, TryLockError},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Make the directory if it is missing, readable by its owner only.
pub(crate) fn prepare(directory: &Path) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(wrong)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(wrong)
}

/// Hold the directory for as long as the file returned is open.
pub(crate) fn lock(directory: &Path) -> Result<File, String> {
    let path = directory.join("lock");
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another host uses {}; stop it, or set PURLIN_DATA_DIR to another directory",
            directory.display()
        )),
        Err(TryLockError::Error(error)) => Err(format!("{}: {error}", path.display())),
    }
}

/// Write a secret that only the owner may read; an existing file stays as it is.
pub(crate) fn write_secret(path: &Path, secret: &str) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(wrong)?;
    file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)
}

/// A directory of its own: the one that is set, or this one in the data directory. Made if
/// it is missing.
pub(crate) fn folder(set: Option<PathBuf>, data_dir: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = set.unwrap_or_else(|| data_dir.join(name));
    prepare(&folder)?;
    Ok(folder)
}
