//! Files of the acting plugin: read at once, written with the commit.
//!
//! The content of each write lies apart under an id of its own; the commit names it. What no
//! file names is swept away.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
};

use purlin_domain::{descriptor::FILES, error::HostError, file::File, id::TenantId, limits::Limit, name::is_file_key};
use purlin_store::plugin_files::{self, Stored};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{HostResult, Unit, unavailable};
use crate::{
    Platform, Result, ServiceError,
    storage::{self, Kind},
};

const CONTENT_TYPE_BYTES_MAX: usize = 100;
const LIST_MAX: u32 = 200;

/// A file about to be written.
#[derive(Clone, Debug)]
pub(super) enum FileWrite {
    Put { file: Stored, content: Arc<[u8]> },
    Delete,
}

/// Where the content of this id lies.
pub(crate) fn content_key(id: Uuid) -> String {
    format!("{FILES}/{id}")
}

impl Unit {
    /// Write a file.
    pub async fn put_file(&mut self, key: &str, content_type: &str, content: Vec<u8>) -> HostResult<File> {
        let plugin = self.filing(Some(key))?;
        self.writable()?;
        let is_type = content_type.len() <= CONTENT_TYPE_BYTES_MAX
            && content_type.contains('/')
            && content_type.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        if !is_type {
            return Err(HostError::invalid("/content_type", "format", "a media type, such as `application/pdf`"));
        }
        if content.len() > self.limits.payload_bytes {
            return Err(HostError::Limit(Limit::PayloadBytes));
        }
        self.count_file(key, content.len())?;
        let bytes = i64::try_from(content.len()).unwrap_or(i64::MAX);
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let before = plugin_files::by_key(&mut tx, &plugin, key).await.map_err(unavailable)?;
        let growth = bytes - before.map_or(0, |file| file.bytes);
        storage::check_room(&self.platform, &mut tx, Kind::Files, growth).await?;
        let file = Stored {
            key: key.to_owned(),
            id: self.platform.clock.id(),
            content_type: content_type.to_owned(),
            bytes,
            digest: blake3::hash(&content).to_hex().to_string(),
            updated_at: self.platform.now(),
        };
        self.files.insert(key.to_owned(), FileWrite::Put { file: file.clone(), content: content.into() });
        Ok(file.into())
    }

    /// What is known of a file.
    pub async fn stat_file(&mut self, key: &str) -> HostResult<File> {
        Ok(self.stored(key).await?.into())
    }

    /// A part of a file.
    pub async fn read_file(&mut self, key: &str, offset: u64, length: u32) -> HostResult<Vec<u8>> {
        let length = length as usize;
        if length > self.limits.payload_bytes {
            return Err(HostError::Limit(Limit::PayloadBytes));
        }
        let file = self.stored(key).await?;
        if let Some(FileWrite::Put { content, .. }) = self.files.get(key) {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
            let until = from.saturating_add(length).min(content.len());
            return Ok(content.get(from..until).unwrap_or_default().to_vec());
        }
        let (platform, tenant) = (Arc::clone(&self.platform), self.principal.tenant);
        let content = content_key(file.id);
        let read = spawn_blocking(move || platform.files.read_at(tenant, &content, offset, length)).await;
        match read.map_err(ServiceError::internal)? {
            Ok(bytes) => Ok(bytes),
            // It was replaced or deleted since it was looked up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.stale = true;
                Err(HostError::Conflict("the file changed while it was read".to_owned()))
            }
            Err(error) => Err(HostError::Unavailable(error.to_string())),
        }
    }

    /// Delete a file.
    pub async fn delete_file(&mut self, key: &str) -> HostResult<()> {
        self.writable()?;
        self.stored(key).await?;
        self.count_file(key, 0)?;
        self.files.insert(key.to_owned(), FileWrite::Delete);
        Ok(())
    }

    /// The files whose keys begin so, this unit's writes merged in; and after which key others
    /// follow.
    pub async fn list_files(
        &mut self,
        prefix: &str,
        size: u32,
        after: Option<&str>,
    ) -> HostResult<(Vec<File>, Option<String>)> {
        let plugin = self.filing(None)?;
        if !(1..=LIST_MAX).contains(&size) {
            return Err(HostError::Limit(Limit::QueryRows));
        }
        let after = after.unwrap_or_default();
        let is_meant = |key: &str| key.starts_with(prefix) && key > after;
        let margin = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let most = size.saturating_add(margin).saturating_add(1);
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let stored = plugin_files::list(&mut tx, &plugin, prefix, after, most).await.map_err(unavailable)?;
        let mut all: BTreeMap<String, File> = stored.into_iter().map(|file| (file.key.clone(), file.into())).collect();
        for (key, write) in self.files.iter().filter(|(key, _)| is_meant(key)) {
            match write {
                FileWrite::Put { file, .. } => all.insert(key.clone(), file.clone().into()),
                FileWrite::Delete => all.remove(key),
            };
        }
        let is_more = all.len() > size as usize;
        let files: Vec<File> = all.into_values().take(size as usize).collect();
        let next = files.last().filter(|_| is_more).map(|file| file.key.clone());
        Ok((files, next))
    }

    /// The acting plugin, which keeps files; and the key, where one is meant, can be one.
    fn filing(&self, key: Option<&str>) -> HostResult<String> {
        let plugin = self.acting()?;
        if !plugin.loaded.descriptor.files {
            return Err(HostError::invalid(
                "",
                "undeclared",
                "the descriptor does not say that the plugin keeps files",
            ));
        }
        if key.is_some_and(|key| !is_file_key(key)) {
            let detail = "words of letters, digits, `.`, `_` and `-`, joined by slashes; 200 bytes at most";
            return Err(HostError::invalid("/key", "format", detail));
        }
        Ok(plugin.installation.plugin.clone())
    }

    /// The file as this unit sees it. The commit will insist that it has not changed.
    async fn stored(&mut self, key: &str) -> HostResult<Stored> {
        let plugin = self.filing(Some(key))?;
        match self.files.get(key) {
            Some(FileWrite::Put { file, .. }) => return Ok(file.clone()),
            Some(FileWrite::Delete) => return Err(HostError::NotFound),
            None => {}
        }
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let file = plugin_files::by_key(&mut tx, &plugin, key).await.map_err(unavailable)?;
        let file = file.ok_or(HostError::NotFound)?;
        let known = *self.files_seen.entry(key.to_owned()).or_insert(file.id);
        if known != file.id {
            self.stale = true;
            return Err(HostError::Conflict("the file changed between two reads".to_owned()));
        }
        Ok(file)
    }

    /// What is gathered of files is bounded as what is gathered of records is.
    fn count_file(&mut self, key: &str, bytes: usize) -> HostResult<()> {
        if self.files.len() >= self.limits.files && !self.files.contains_key(key) {
            return Err(HostError::Limit(Limit::Files));
        }
        if self.write_bytes + bytes > self.limits.write_bytes {
            return Err(HostError::Limit(Limit::WriteBytes));
        }
        self.write_bytes += bytes;
        Ok(())
    }
}

/// Write the contents of what units put, before the commit names them.
pub(super) async fn write_contents<'a>(
    platform: &Platform,
    tenant: TenantId,
    writes: impl Iterator<Item = &'a FileWrite>,
) -> Result<()> {
    let puts: Vec<(Uuid, Arc<[u8]>)> = writes
        .filter_map(|write| match write {
            FileWrite::Put { file, content } => Some((file.id, Arc::clone(content))),
            FileWrite::Delete => None,
        })
        .collect();
    if puts.is_empty() {
        return Ok(());
    }
    let files = Arc::clone(&platform.files);
    let written = spawn_blocking(move || {
        puts.into_iter().try_for_each(|(id, content)| {
            let mut file = files.create(tenant, &content_key(id))?;
            file.write_all(&content)?;
            file.keep()
        })
    });
    let written = written.await.map_err(ServiceError::internal)?;
    written.map_err(|error| ServiceError::Unavailable(format!("a file could not be written: {error}")))
}

/// Delete contents that a commit left without a name. What is left over is swept away later, as
/// is what a commit that did not hold would have named.
pub(crate) fn forget_contents(platform: &Platform, tenant: TenantId, contents: Vec<Uuid>) {
    if contents.is_empty() {
        return;
    }
    let files = Arc::clone(&platform.files);
    spawn_blocking(move || {
        for id in contents {
            if let Err(error) = files.delete(tenant, &content_key(id)) {
                tracing::debug!(%error, %id, "content that nothing names could not be deleted; it is swept away");
            }
        }
    });
}
