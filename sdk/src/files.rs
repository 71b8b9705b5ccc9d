//! Files of this plugin in this tenant, by key: words of letters, digits, `.`, `_` and `-`
//! joined by slashes, such as `invoices/2026/7.pdf`. The descriptor says that the plugin
//! [keeps files](crate::Descriptor::keeps_files). Writes commit with the invocation, and its
//! reads see them.

use crate::{Error, bindings::purlin::platform::files as wit};

pub use wit::{File, Page};

/// Bytes that one call reads or writes at most: 1 MiB.
pub const BYTES_MAX: u32 = 1 << 20;

/// Write a file, in the place of what was there.
pub fn put(key: &str, content_type: &str, content: &[u8]) -> Result<File, Error> {
    Ok(wit::put(key, content_type, content)?)
}

/// What is known of a file.
pub fn stat(key: &str) -> Result<File, Error> {
    Ok(wit::stat(key)?)
}

/// Read up to `length` bytes from `offset` on; fewer at the end.
pub fn read(key: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
    Ok(wit::read(key, offset, length)?)
}

/// Delete a file.
pub fn delete(key: &str) -> Result<(), Error> {
    Ok(wit::delete(key)?)
}

/// The files whose keys begin so, by key; 1 to 200 of them, after the key given.
pub fn list(prefix: &str, size: u32, after: Option<&str>) -> Result<Page, Error> {
    Ok(wit::list(prefix, size, after)?)
}
