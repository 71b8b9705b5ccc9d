//! `files`: files of the plugin, by key.

use purlin_domain::{error::HostError, file::File};

use super::Host;
use crate::{
    bindings::purlin::platform::{files as wit, types},
    state::{State, len},
};

/// What the platform answers.
pub trait Files {
    /// Write a file.
    fn put(
        &mut self,
        key: &str,
        content_type: &str,
        content: Vec<u8>,
    ) -> impl Future<Output = Result<File, HostError>> + Send;

    /// What is known of a file.
    fn stat(&mut self, key: &str) -> impl Future<Output = Result<File, HostError>> + Send;

    /// A part of a file.
    fn read(&mut self, key: &str, offset: u64, length: u32) -> impl Future<Output = Result<Vec<u8>, HostError>> + Send;

    /// Delete a file.
    fn remove(&mut self, key: &str) -> impl Future<Output = Result<(), HostError>> + Send;

    /// The files whose keys begin so, and after which key others follow.
    fn files(
        &mut self,
        prefix: &str,
        size: u32,
        after: Option<String>,
    ) -> impl Future<Output = Result<(Vec<File>, Option<String>), HostError>> + Send;
}

impl<H: Host> wit::Host for State<H> {
    async fn put(
        &mut self,
        key: String,
        content_type: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<Result<wit::File, types::Error>> {
        let host = self.call(key.len() + content_type.len() + content.len())?;
        Ok(host.put(&key, &content_type, content).await.map(file).map_err(types::Error::from))
    }

    async fn stat(&mut self, key: String) -> wasmtime::Result<Result<wit::File, types::Error>> {
        Ok(self.call(key.len())?.stat(&key).await.map(file).map_err(types::Error::from))
    }

    async fn read(&mut self, key: String, offset: u64, length: u32) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        Ok(self.call(key.len())?.read(&key, offset, length).await.map_err(types::Error::from))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.call(key.len())?.remove(&key).await.map_err(types::Error::from))
    }

    async fn list(
        &mut self,
        prefix: String,
        size: u32,
        after: Option<String>,
    ) -> wasmtime::Result<Result<wit::Page, types::Error>> {
        let page = self.call(prefix.len() + len(after.as_ref()))?.files(&prefix, size, after).await;
        let page = page.map(|(files, next)| wit::Page { files: files.into_iter().map(file).collect(), next });
        Ok(page.map_err(types::Error::from))
    }
}

fn file(file: File) -> wit::File {
    wit::File {
        key: file.key,
        content_type: file.content_type,
        bytes: u64::try_from(file.bytes).unwrap_or(0),
        digest: file.digest,
        updated_at: super::records::timestamp(file.updated_at),
    }
}
