//! Files of tenants, each tenant's in a directory of its own that nothing leads out of.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    time::SystemTime,
};

use cap_std::{
    ambient_authority,
    fs::{Dir, File, OpenOptions},
};
use purlin_domain::id::TenantId;
use purlin_service::files::{Found, KeepFiles, NewFile};

/// A directory of files.
pub(crate) struct Files(Dir);

impl Files {
    /// In this directory, which is there.
    pub(crate) fn open(path: &std::path::Path) -> Result<Self, String> {
        Dir::open_ambient_dir(path, ambient_authority())
            .map(Self)
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn of(&self, tenant: TenantId) -> io::Result<Dir> {
        let name = tenant.to_string();
        self.0.create_dir_all(&name)?;
        self.0.open_dir(&name)
    }
}

impl KeepFiles for Files {
    fn create(&self, tenant: TenantId, key: &str) -> io::Result<Box<dyn NewFile>> {
        let dir = self.of(tenant)?;
        if let Some((folder, _)) = key.rsplit_once('/') {
            dir.create_dir_all(folder)?;
        }
        let part = format!("{key}.part");
        let file = dir.open_with(&part, OpenOptions::new().create(true).write(true).truncate(true))?;
        Ok(Box::new(Part { dir, file, part, key: key.to_owned() }))
    }

    fn open(&self, tenant: TenantId, key: &str) -> io::Result<(Box<dyn Read + Send>, u64)> {
        let file = self.of(tenant)?.open(key)?;
        let length = file.metadata()?.len();
        Ok((Box::new(file), length))
    }

    fn read_at(&self, tenant: TenantId, key: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut file = self.of(tenant)?.open(key)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn delete(&self, tenant: TenantId, key: &str) -> io::Result<()> {
        self.of(tenant)?.remove_file(key)
    }

    fn find_before(&self, folder: &str, before: SystemTime, most: usize) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for tenant in self.0.entries()? {
            let tenant = tenant?;
            let id = tenant.file_name().to_string_lossy().parse::<TenantId>();
            let (Ok(id), true) = (id, tenant.file_type()?.is_dir()) else { continue };
            let dir = match tenant.open_dir()?.open_dir(folder) {
                Ok(dir) => dir,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for file in dir.entries()? {
                if found.len() >= most {
                    return Ok(found);
                }
                let file = file?;
                let Ok(metadata) = file.metadata() else { continue };
                if metadata.is_file() && metadata.modified()?.into_std() < before {
                    found.push((id, file.file_name().to_string_lossy().into_owned()));
                }
            }
        }
        Ok(found)
    }

    fn delete_before(&self, folder: &str, before: SystemTime) -> io::Result<u64> {
        let mut count = 0;
        for tenant in self.0.entries()? {
            let tenant = tenant?;
            if !tenant.file_type()?.is_dir() {
                continue;
            }
            match tenant.open_dir()?.open_dir(folder) {
                Ok(dir) => count += delete_old(&dir, before)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

/// Other hosts may do the same at the same time.
fn delete_old(dir: &Dir, before: SystemTime) -> io::Result<u64> {
    let mut count = 0;
    for file in dir.entries()? {
        let file = file?;
        let deleted = file.metadata().and_then(|metadata| {
            let is_old = metadata.is_file() && metadata.modified()?.into_std() < before;
            if is_old { file.remove_file().map(|()| 1) } else { Ok(0) }
        });
        match deleted {
            Ok(deleted) => count += deleted,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// A file that is not there yet.
struct Part {
    dir: Dir,
    file: File,
    part: String,
    key: String,
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl NewFile for Part {
    fn keep(self: Box<Self>) -> io::Result<()> {
        self.file.sync_all()?;
        self.dir.rename(&self.part, &self.dir, &self.key)
    }
}
