//! Signed checkpoints of the audit log, kept as files: the newest of each tenant. Who can
//! change the database cannot, by that, change these.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use purlin_domain::id::TenantId;
use purlin_service::checkpoints::KeepCheckpoints;

/// A directory with one file for each tenant.
pub(crate) struct CheckpointFiles {
    directory: PathBuf,
    /// One at a time looks which of two lies further on.
    turn: Mutex<()>,
}

impl CheckpointFiles {
    pub(crate) fn open(directory: PathBuf) -> Result<Self, String> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|error| wrong(&directory, &error))?;
        Ok(Self { directory, turn: Mutex::new(()) })
    }

    fn file(&self, tenant: TenantId) -> PathBuf {
        self.directory.join(format!("{tenant}.jws"))
    }

    /// The place and the token that are kept.
    fn read(&self, tenant: TenantId) -> Result<Option<(i64, String)>, String> {
        let file = self.file(tenant);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(&file, &error)),
        };
        let (seq, token) = text.split_once(' ').ok_or_else(|| format!("{}: this is no checkpoint", file.display()))?;
        let seq = seq.parse().map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Some((seq, token.to_owned())))
    }
}

impl KeepCheckpoints for CheckpointFiles {
    fn keep(&self, tenant: TenantId, seq: i64, token: &str) -> Result<(), String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.read(tenant)?.is_some_and(|(kept, _)| kept > seq) {
            return Ok(());
        }
        // Whole or not at all: a reader never sees half of one.
        let (file, new) = (self.file(tenant), self.directory.join(format!("{tenant}.new")));
        fs::write(&new, format!("{seq} {token}")).map_err(|error| wrong(&new, &error))?;
        fs::rename(&new, &file).map_err(|error| wrong(&file, &error))
    }

    fn newest(&self, tenant: TenantId) -> Result<Option<String>, String> {
        Ok(self.read(tenant)?.map(|(_, token)| token))
    }
}

fn wrong(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
