//! One connection of either database, and the four ways to use it.

use futures_util::{Stream, StreamExt};
use sea_query::{Value, Values};
use sea_query_sqlx::SqlxValues;
use sqlx::{
    FromRow, PgConnection, Pool, Postgres, SqlStr, Sqlite, Transaction, pool::PoolConnection, postgres::PgRow,
    query_as_with, query_with, sqlite::SqliteRow,
};

use crate::{Result, db::ConnectionShares, sqlite::Reader};

/// A row type that both databases can fill.
pub trait Entity: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static {}
impl<T> Entity for T where T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static {}

/// A row of a list, and about how many bytes of documents and text it holds.
pub trait Weigh {
    /// The bytes.
    fn bytes(&self) -> usize;
}

async fn within<T: Weigh>(
    mut rows: impl Stream<Item = sqlx::Result<T>> + Unpin,
    bytes_max: usize,
) -> Result<(Vec<T>, bool)> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().await {
        let row = row?;
        bytes += row.bytes();
        taken.push(row);
        if bytes >= bytes_max {
            return Ok((taken, rows.next().await.is_some()));
        }
    }
    Ok((taken, false))
}

/// A connection: in a transaction, or for statements without one.
pub(crate) enum Conn {
    /// A transaction that begins with its first statement.
    PostgresToBegin(Pool<Postgres>, ConnectionShares),
    Postgres(Transaction<'static, Postgres>),
    PostgresAuto(PoolConnection<Postgres>),
    Sqlite(Transaction<'static, Sqlite>),
    SqliteRead(Reader),
}

/// The same call on whichever connection it is.
macro_rules! on {
    ($conn:expr, $query:ident$(::<$row:ident>)?($sql:expr, $values:expr).$call:ident()) => {{
        let values = SqlxValues(Values($values));
        match $conn {
            Conn::PostgresToBegin(..) => Err(not_begun()),
            Conn::Postgres(tx) => $query::<Postgres, $($row,)? _>($sql, values).$call(&mut **tx).await.map(Into::into),
            Conn::PostgresAuto(tx) => $query::<Postgres, $($row,)? _>($sql, values).$call(&mut **tx).await.map(Into::into),
            Conn::Sqlite(tx) => $query::<Sqlite, $($row,)? _>($sql, values).$call(&mut **tx).await.map(Into::into),
            Conn::SqliteRead(tx) => $query::<Sqlite, $($row,)? _>($sql, values).$call(tx.conn()).await.map(Into::into),
        }
    }};
}

fn not_begun() -> sqlx::Error {
    sqlx::Error::InvalidArgument("a statement came before its transaction began".to_owned())
}

struct Affected(u64);

impl From<sqlx::postgres::PgQueryResult> for Affected {
    fn from(result: sqlx::postgres::PgQueryResult) -> Self {
        Self(result.rows_affected())
    }
}

impl From<sqlx::sqlite::SqliteQueryResult> for Affected {
    fn from(result: sqlx::sqlite::SqliteQueryResult) -> Self {
        Self(result.rows_affected())
    }
}

impl Conn {
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::PostgresToBegin(..) | Self::Postgres(_) | Self::PostgresAuto(_))
    }

    /// Let what a list asks take only so long, where the connection does not see to that by itself.
    pub(crate) async fn bound(&mut self) -> Result<()> {
        match self {
            Self::SqliteRead(reader) => reader.bound().await,
            _ => Ok(()),
        }
    }

    /// Let statements take what they take.
    pub(crate) fn free(&self) {
        if let Self::SqliteRead(reader) = self {
            reader.free();
        }
    }

    /// The connection itself, for what only PostgreSQL has.
    pub(crate) fn postgres(&mut self) -> Result<&mut PgConnection> {
        match self {
            Self::Postgres(tx) => Ok(tx),
            Self::PostgresAuto(conn) => Ok(conn),
            Self::PostgresToBegin(..) | Self::Sqlite(_) | Self::SqliteRead(_) => Err(not_begun().into()),
        }
    }

    pub(crate) async fn fetch_all<T: Entity>(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<Vec<T>> {
        let rows: sqlx::Result<Vec<T>> = on!(self, query_as_with::<T>(sql, values).fetch_all());
        Ok(rows?)
    }

    /// Rows until they weigh too much together, the last one included; whether that cut
    /// them short.
    pub(crate) async fn fetch_within<T: Entity + Weigh>(
        &mut self,
        sql: SqlStr,
        values: Vec<Value>,
        bytes_max: usize,
    ) -> Result<(Vec<T>, bool)> {
        let values = SqlxValues(Values(values));
        match self {
            Self::PostgresToBegin(..) => Err(not_begun().into()),
            Self::Postgres(tx) => {
                within(query_as_with::<Postgres, T, _>(sql, values).fetch(&mut **tx), bytes_max).await
            }
            Self::PostgresAuto(tx) => {
                within(query_as_with::<Postgres, T, _>(sql, values).fetch(&mut **tx), bytes_max).await
            }
            Self::Sqlite(tx) => within(query_as_with::<Sqlite, T, _>(sql, values).fetch(&mut **tx), bytes_max).await,
            Self::SqliteRead(tx) => {
                within(query_as_with::<Sqlite, T, _>(sql, values).fetch(tx.conn()), bytes_max).await
            }
        }
    }

    pub(crate) async fn fetch_optional<T: Entity>(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<Option<T>> {
        let row: sqlx::Result<Option<T>> = on!(self, query_as_with::<T>(sql, values).fetch_optional());
        Ok(row?)
    }

    pub(crate) async fn fetch_one<T: Entity>(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<T> {
        let row: sqlx::Result<T> = on!(self, query_as_with::<T>(sql, values).fetch_one());
        Ok(row?)
    }

    pub(crate) async fn execute(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<u64> {
        let done: sqlx::Result<Affected> = on!(self, query_with(sql, values).execute());
        Ok(done?.0)
    }

    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Postgres(tx) => tx.commit().await?,
            Self::Sqlite(tx) => tx.commit().await?,
            Self::PostgresToBegin(..) | Self::PostgresAuto(_) | Self::SqliteRead(_) => {}
        }
        Ok(())
    }
}

/// The four ways, with the statement given as a literal.
macro_rules! delegate_statements {
    ($prepare:ident, $text:ident) => {
        /// Every row.
        pub async fn fetch_all<T: $crate::Entity>(
            &mut self,
            sql: &'static str,
            values: Vec<sea_query::Value>,
        ) -> $crate::Result<Vec<T>> {
            self.settle().await?;
            let values = self.$prepare(sql, values);
            self.conn.fetch_all(Self::$text(sql), values).await
        }

        /// The row, if there is one.
        pub async fn fetch_optional<T: $crate::Entity>(
            &mut self,
            sql: &'static str,
            values: Vec<sea_query::Value>,
        ) -> $crate::Result<Option<T>> {
            self.settle().await?;
            let values = self.$prepare(sql, values);
            self.conn.fetch_optional(Self::$text(sql), values).await
        }

        /// The row that must be there.
        pub async fn fetch_one<T: $crate::Entity>(
            &mut self,
            sql: &'static str,
            values: Vec<sea_query::Value>,
        ) -> $crate::Result<T> {
            self.settle().await?;
            let values = self.$prepare(sql, values);
            self.conn.fetch_one(Self::$text(sql), values).await
        }

        /// Run a statement; how many rows it touched.
        pub async fn execute(&mut self, sql: &'static str, values: Vec<sea_query::Value>) -> $crate::Result<u64> {
            self.settle().await?;
            let values = self.$prepare(sql, values);
            self.conn.execute(Self::$text(sql), values).await
        }
    };
}
pub(crate) use delegate_statements;
