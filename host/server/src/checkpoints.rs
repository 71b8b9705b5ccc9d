//! Signed checkpoints of the audit log, kept as files: the newest of each tenant. Who can
//! change the database cannot, by that, change these.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use purlin_domain::id::TenantId;
use purlin_service::checkpoints::KeepCheckpoints;

/// A directory with one file for each tenant.
pub(crate) struct CheckpointFiles(PathBuf);

impl CheckpointFiles {
    pub(crate) fn open(directory: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&directory).map_err(|error| wrong(&directory, &error))?;
        Ok(Self(directory))
    }

    fn file(&self, tenant: TenantId) -> PathBuf {
        self.0.join(format!("{tenant}.jws"))
    }
}

impl KeepCheckpoints for CheckpointFiles {
    fn keep(&self, tenant: TenantId, token: &str) -> Result<(), String> {
        // Whole or not at all: a reader never sees half of one.
        let (file, new) = (self.file(tenant), self.0.join(format!("{tenant}.new")));
        fs::write(&new, token).map_err(|error| wrong(&new, &error))?;
        fs::rename(&new, &file).map_err(|error| wrong(&file, &error))
    }

    fn newest(&self, tenant: TenantId) -> Result<Option<String>, String> {
        match fs::read_to_string(self.file(tenant)) {
            Ok(token) => Ok(Some(token)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(&self.file(tenant), &error)),
        }
    }
}

fn wrong(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
