//! What only SQLite has: one writer, readers that cannot write.

use std::{cmp::Ordering, path::Path, time::Duration};

use purlin_domain::number::Number;
use sqlx::{
    Pool, Sqlite, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::Result;

/// The collation of texts that are numbers, by their exact values. SQLite itself reads a decimal
/// only to within the last bit of a double.
pub(crate) const NUMBER: &str = "purlin_number";

fn compare_numbers(a: &str, b: &str) -> Ordering {
    match (a.parse::<Number>(), b.parse::<Number>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        // Text compares by its bytes, as it does in PostgreSQL under the "C" collation.
        .pragma("case_sensitive_like", "ON")
        .collation(NUMBER, compare_numbers)
}

pub(crate) async fn open(file: &Path, readers: u32) -> Result<(Pool<Sqlite>, Pool<Sqlite>)> {
    let pool = |size: u32| SqlitePoolOptions::new().max_connections(size).acquire_timeout(ACQUIRE_TIMEOUT);
    let writer = pool(1).connect_with(options(file)).await?;
    let readers = pool(readers.max(1)).connect_with(options(file).pragma("query_only", "ON")).await?;
    Ok((writer, readers))
}

/// The write lock is taken at once, so that a transaction never fails half-way for want of it.
pub(crate) async fn begin(writer: &Pool<Sqlite>) -> Result<Transaction<'static, Sqlite>> {
    Ok(writer.begin_with("BEGIN IMMEDIATE").await?)
}
