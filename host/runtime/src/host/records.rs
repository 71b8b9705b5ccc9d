//! `records`: the collections.

use chrono::SecondsFormat;
use purlin_domain::{
    Json, Timestamp,
    error::HostError,
    id::RecordId,
    record::{Record, RecordPage},
};

use super::Host;
use crate::{
    bindings::purlin::platform::{records as wit, types},
    state::{State, id, json, len},
};

/// What a guest asks of a collection.
#[derive(Clone, Debug)]
pub struct Query {
    /// The filter tree.
    pub filter: Option<Json>,
    /// Sort keys, a `-` before those that descend.
    pub sort: Vec<String>,
    /// Rows wanted.
    pub size: u32,
    /// Where the page begins.
    pub after: Option<String>,
}

/// What the platform answers.
pub trait Records {
    /// A record; the commit insists that it has not changed.
    fn get(&mut self, collection: &str, id: RecordId) -> impl Future<Output = Result<Record, HostError>> + Send;

    /// Create a record.
    fn create(&mut self, collection: &str, data: Json) -> impl Future<Output = Result<Record, HostError>> + Send;

    /// Replace a record's data.
    fn update(
        &mut self,
        collection: &str,
        id: RecordId,
        data: Json,
        expected: Option<i64>,
    ) -> impl Future<Output = Result<Record, HostError>> + Send;

    /// Change a record's data by a JSON Merge Patch.
    fn patch(
        &mut self,
        collection: &str,
        id: RecordId,
        changes: Json,
        expected: Option<i64>,
    ) -> impl Future<Output = Result<Record, HostError>> + Send;

    /// Delete a record.
    fn delete(&mut self, collection: &str, id: RecordId) -> impl Future<Output = Result<(), HostError>> + Send;

    /// A page of a collection.
    fn query(&mut self, collection: &str, query: Query) -> impl Future<Output = Result<RecordPage, HostError>> + Send;

    /// How many records pass a filter.
    fn count(&mut self, collection: &str, filter: Option<Json>) -> impl Future<Output = Result<u64, HostError>> + Send;

    /// Lock a key of the plugin.
    fn lock(&mut self, key: &str) -> impl Future<Output = Result<(), HostError>> + Send;
}

impl<H: Host> wit::Host for State<H> {
    async fn get(&mut self, collection: String, record: String) -> wasmtime::Result<Result<wit::Row, types::Error>> {
        let host = self.call(collection.len() + record.len())?;
        let found = async { host.get(&collection, id(&record)?).await }.await;
        Ok(found.map(|record| row(&record)).map_err(types::Error::from))
    }

    async fn create(&mut self, collection: String, data: String) -> wasmtime::Result<Result<wit::Row, types::Error>> {
        let host = self.call(collection.len() + data.len())?;
        let created = async { host.create(&collection, json("/data", &data)?).await }.await;
        Ok(created.map(|record| row(&record)).map_err(types::Error::from))
    }

    async fn update(
        &mut self,
        collection: String,
        record: String,
        data: String,
        expected: Option<u64>,
    ) -> wasmtime::Result<Result<wit::Row, types::Error>> {
        let host = self.call(collection.len() + record.len() + data.len())?;
        let expected = expected.map(version);
        let updated = async { host.update(&collection, id(&record)?, json("/data", &data)?, expected).await }.await;
        Ok(updated.map(|record| row(&record)).map_err(types::Error::from))
    }

    async fn patch(
        &mut self,
        collection: String,
        record: String,
        changes: String,
        expected: Option<u64>,
    ) -> wasmtime::Result<Result<wit::Row, types::Error>> {
        let host = self.call(collection.len() + record.len() + changes.len())?;
        let expected = expected.map(version);
        let patched =
            async { host.patch(&collection, id(&record)?, json("/changes", &changes)?, expected).await }.await;
        Ok(patched.map(|record| row(&record)).map_err(types::Error::from))
    }

    async fn delete(&mut self, collection: String, record: String) -> wasmtime::Result<Result<(), types::Error>> {
        let host = self.call(collection.len() + record.len())?;
        let deleted = async { host.delete(&collection, id(&record)?).await }.await;
        Ok(deleted.map_err(types::Error::from))
    }

    async fn query(
        &mut self,
        collection: String,
        options: wit::QueryOptions,
    ) -> wasmtime::Result<Result<wit::Page, types::Error>> {
        let host = self.call(collection.len() + options_bytes(&options))?;
        let page = async {
            let filter = options.filter.map(|text| json("/filter", &text)).transpose()?;
            let query = Query { filter, sort: options.sort, size: options.size, after: options.after };
            host.query(&collection, query).await
        };
        Ok(page
            .await
            .map_err(types::Error::from)
            .map(|page| wit::Page { rows: page.rows.iter().map(row).collect(), next: page.next }))
    }

    async fn count(
        &mut self,
        collection: String,
        filter: Option<String>,
    ) -> wasmtime::Result<Result<u64, types::Error>> {
        let host = self.call(collection.len() + len(filter.as_ref()))?;
        let count = async {
            let filter = filter.map(|text| json("/filter", &text)).transpose()?;
            host.count(&collection, filter).await
        };
        Ok(count.await.map_err(types::Error::from))
    }

    async fn lock(&mut self, key: String) -> wasmtime::Result<Result<(), types::Error>> {
        let host = self.call(key.len())?;
        Ok(host.lock(&key).await.map_err(types::Error::from))
    }
}

/// A version that no record has is never current.
fn version(expected: u64) -> i64 {
    i64::try_from(expected).unwrap_or(i64::MAX)
}

fn options_bytes(options: &wit::QueryOptions) -> usize {
    let sort = options.sort.iter().map(String::len);
    len(options.filter.as_ref()) + sort.sum::<usize>() + len(options.after.as_ref())
}

fn row(record: &Record) -> wit::Row {
    wit::Row {
        id: record.id.to_string(),
        version: u64::try_from(record.version).unwrap_or(0),
        data: record.data.to_string(),
        created_at: timestamp(record.created_at),
        updated_at: timestamp(record.updated_at),
    }
}

/// RFC 3339 in UTC with microseconds.
pub(crate) fn timestamp(time: Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
