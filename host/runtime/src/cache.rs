//! Compiled components on disk: keyed by the component's digest and the engine's
//! compatibility, checksummed, written by the host alone.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use wasmtime::{Engine, component::Component};

use crate::error::RuntimeError;

const CHECKSUM_BYTES: usize = 32;

/// The directory of artifacts.
pub(crate) struct Cache {
    directory: PathBuf,
    /// Changes with wasmtime's version and settings, so that old artifacts are not found.
    compatibility: u64,
}

impl Cache {
    pub(crate) fn open(directory: &Path, engine: &Engine) -> Result<Self, RuntimeError> {
        fs::create_dir_all(directory).map_err(RuntimeError::failed)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(RuntimeError::failed)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { directory: directory.to_owned(), compatibility: hasher.finish() })
    }

    /// The compiled component, if it is here and whole.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Result<Option<Component>, RuntimeError> {
        let file = self.file(digest);
        let Ok(bytes) = fs::read(&file) else { return Ok(None) };
        let whole =
            bytes.split_at_checked(CHECKSUM_BYTES).filter(|(sum, artifact)| blake3::hash(artifact).as_bytes() == *sum);
        let Some((_, artifact)) = whole else {
            tracing::warn!(file = %file.display(), "a compiled component is damaged; it will be compiled again");
            return Ok(None);
        };
        match deserialize(engine, artifact) {
            Ok(component) => Ok(Some(component)),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(file = %file.display(), error, "a compiled component does not fit; it will be compiled again");
                Ok(None)
            }
        }
    }

    /// Keep a compiled component. Written beside and moved in place, so that a reader
    /// never sees half of it.
    pub(crate) fn store(&self, engine: &Engine, digest: &str, artifact: &[u8]) -> Result<Component, RuntimeError> {
        // It was compiled, so what is wrong with it is that it asks for more than guests get.
        let component =
            deserialize(engine, artifact).map_err(|error| RuntimeError::refused("limits", format!("{error:#}")))?;
        let file = self.file(digest);
        let beside = file.with_extension(format!("{}.part", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut out| {
                out.write_all(blake3::hash(artifact).as_bytes())?;
                out.write_all(artifact)?;
                out.sync_all()
            })
            .and_then(|()| fs::rename(&beside, &file));
        if let Err(error) = written {
            // The component runs from memory; only the next start pays for compiling again.
            tracing::warn!(%error, file = %file.display(), "a compiled component could not be kept");
        }
        Ok(component)
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.directory.join(format!("{digest}-{:016x}.cwasm", self.compatibility))
    }
}

#[expect(
    unsafe_code,
    reason = "wasmtime trusts artifacts; these come from our own compiler through a pipe or a checksummed file in a directory only the host writes"
)]
fn deserialize(engine: &Engine, artifact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `artifact` was made by `compile` of this program with the same engine
    // settings: it comes straight from the compiling process, or from a file in the
    // host's own directory whose checksum was verified.
    unsafe { Component::deserialize(engine, artifact) }
}
