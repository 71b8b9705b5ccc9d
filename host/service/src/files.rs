//! Files of tenants, kept by whatever the host was given.

use std::{
    io::{self, Read, Write},
    time::SystemTime,
};

use purlin_domain::id::TenantId;

/// A file's tenant, and its name in its folder.
pub type Found = (TenantId, String);

/// Keeps files. A key is made of words joined by slashes, and nobody outside chooses it.
pub trait KeepFiles: Send + Sync {
    /// Write a file; it is there once it was [kept](NewFile::keep), and not before.
    fn create(&self, tenant: TenantId, key: &str) -> io::Result<Box<dyn NewFile>>;

    /// Read a file: its bytes, and how many.
    fn open(&self, tenant: TenantId, key: &str) -> io::Result<(Box<dyn Read + Send>, u64)>;

    /// Read so many bytes of a file from there on; fewer at its end.
    fn read_at(&self, tenant: TenantId, key: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Delete a file.
    fn delete(&self, tenant: TenantId, key: &str) -> io::Result<()>;

    /// The files in this folder of every tenant that were last written before; so many at most.
    fn find_before(&self, folder: &str, before: SystemTime, most: usize) -> io::Result<Vec<Found>>;

    /// Delete the files in this folder of every tenant that were last written before; how many.
    fn delete_before(&self, folder: &str, before: SystemTime) -> io::Result<u64>;
}

/// A file being written.
pub trait NewFile: Write + Send {
    /// Put it where it belongs, in the place of what was there.
    fn keep(self: Box<Self>) -> io::Result<()>;
}
