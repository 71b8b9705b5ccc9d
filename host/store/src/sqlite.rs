//! What only SQLite has: one writer, readers that cannot write.

use std::{
    cmp,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use purlin_domain::{filter::instant, number::Number};
use sqlx::{
    Pool, Sqlite, SqliteConnection, Transaction,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::Result;

/// The collation of texts that are numbers, by their exact values. SQLite itself reads a decimal
/// only to within the last bit of a double.
pub(crate) const NUMBER: &str = "purlin_number";

fn compare_numbers(a: &str, b: &str) -> cmp::Ordering {
    match (a.parse::<Number>(), b.parse::<Number>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

/// The collation of texts that are instants, whatever their offset.
pub(crate) const INSTANT: &str = "purlin_instant";

fn compare_instants(a: &str, b: &str) -> cmp::Ordering {
    match (instant(a), instant(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
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
        .collation(INSTANT, compare_instants)
}

pub(crate) async fn open(file: &Path, readers: u32) -> Result<(Pool<Sqlite>, Pool<Sqlite>)> {
    let pool = |size: u32| SqlitePoolOptions::new().max_connections(size).acquire_timeout(ACQUIRE_TIMEOUT);
    let writer = pool(1).connect_with(options(file)).await?;
    let readers = pool(readers.max(1)).connect_with(options(file).pragma("query_only", "ON")).await?;
    Ok((writer, readers))
}

/// A connection that reads, and until when its present statement may.
pub(crate) struct Reader {
    conn: PoolConnection<Sqlite>,
    list_timeout: Duration,
    /// In microseconds since [`EPOCH`]; 0 where there is no end. None while nothing looks at it.
    deadline: Option<Arc<AtomicU64>>,
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Steps of SQLite's machine between two looks at the time.
const STEPS: i32 = 2_000;

impl Reader {
    pub(crate) fn new(conn: PoolConnection<Sqlite>, list_timeout: Duration) -> Self {
        Self { conn, list_timeout, deadline: None }
    }

    pub(crate) fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.conn
    }

    /// Interrupt a list that takes longer than it may from now on, until [`free`](Self::free).
    pub(crate) async fn bound(&mut self) -> Result<()> {
        let until = u64::try_from((EPOCH.elapsed() + self.list_timeout).as_micros()).unwrap_or(u64::MAX).max(1);
        if let Some(deadline) = &self.deadline {
            deadline.store(until, Ordering::Relaxed);
            return Ok(());
        }
        let deadline = Arc::new(AtomicU64::new(until));
        let looked_at = Arc::clone(&deadline);
        self.conn.lock_handle().await?.set_progress_handler(STEPS, move || {
            let until = looked_at.load(Ordering::Relaxed);
            until == 0 || EPOCH.elapsed().as_micros() < u128::from(until)
        });
        self.deadline = Some(deadline);
        Ok(())
    }

    /// Let statements take what they take.
    pub(crate) fn free(&self) {
        if let Some(deadline) = &self.deadline {
            deadline.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Reader {
    /// Whoever uses the connection next is not bound by what holds here.
    fn drop(&mut self) {
        self.free();
    }
}

/// The write lock is taken at once, so that a transaction never fails half-way for want of it.
pub(crate) async fn begin(writer: &Pool<Sqlite>) -> Result<Transaction<'static, Sqlite>> {
    Ok(writer.begin_with("BEGIN IMMEDIATE").await?)
}
