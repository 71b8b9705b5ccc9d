//! Inserts of many rows. In PostgreSQL a statement is the same for one row, and for however many
//! more there are, so that it is prepared once: each column is one value, or one array. To be read
//! out of a JSON document costs a row five times as much.

use std::borrow::Cow;

use purlin_domain::id::TenantId;
use sea_query::Value;
use sqlx::{Arguments, AssertSqlSafe, SqlSafeStr, SqlStr, postgres::PgArguments, query_as_with, query_with};
use uuid::Uuid;

use crate::{Result, StoreError, TenantTx, value::Bind};

/// Parameters of one statement at most; below the limit of both databases.
const PARAMETERS_MAX: usize = 30_000;

/// An insert into PostgreSQL: what stands before and after the rows, which are `r`.
pub(crate) struct Insert {
    head: Cow<'static, str>,
    tail: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

impl Insert {
    /// Of rows as they are.
    fn of(table: &str, columns: &[&'static str], rows: Vec<Vec<Value>>) -> Self {
        let head = format!("INSERT INTO {table} ({}) SELECT $1, r.* FROM ", names(columns));
        Self { head: head.into(), tail: "", columns: columns.to_vec(), rows }
    }

    /// Of what `head` and `tail` make of them.
    pub(crate) fn with(
        (head, tail): (&'static str, &'static str),
        columns: Vec<&'static str>,
        rows: Vec<Vec<Value>>,
    ) -> Self {
        Self { head: head.into(), tail, columns, rows }
    }
}

/// One statement of inserts, each with this suffix, and the last one's with what it returns.
/// The tenant is `$1`.
pub(crate) fn statement(
    tenant: TenantId,
    inserts: Vec<Insert>,
    suffix: &str,
    returning: &str,
) -> Result<(SqlStr, PgArguments)> {
    let mut arguments = PgArguments::default();
    arguments.add(tenant.0).map_err(sqlx::Error::Encode)?;
    let mut statements = Vec::new();
    for Insert { head, tail, columns, rows } in inserts {
        let from = arguments.len() + 1;
        let is_one = rows.len() == 1;
        for column in transposed(columns.len(), rows) {
            add_column(&mut arguments, column, is_one)?;
        }
        let places = from..=arguments.len();
        let rows = if is_one {
            let values: Vec<String> = places.zip(&columns).map(|(place, name)| format!("${place} AS {name}")).collect();
            format!("(SELECT {}) r", values.join(", "))
        } else {
            let arrays: Vec<String> = places.map(|place| format!("${place}")).collect();
            format!("unnest({}) r({})", arrays.join(", "), columns.join(", "))
        };
        statements.push(format!("{head}{rows}{tail}{suffix}"));
    }
    let last = statements.pop().unwrap_or_default();
    let others: Vec<String> = statements.iter().enumerate().map(|(i, sql)| format!("w{i} AS ({sql})")).collect();
    let with = if others.is_empty() { String::new() } else { format!("WITH {} ", others.join(", ")) };
    Ok((AssertSqlSafe(with + &last + returning).into_sql_str(), arguments))
}

/// Rows as columns.
fn transposed(width: usize, rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    let mut columns: Vec<Vec<Value>> = (0..width).map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    columns
}

/// Values of one type as an array, or the only one.
fn add_column(arguments: &mut PgArguments, column: Vec<Value>, is_one: bool) -> Result<()> {
    macro_rules! typed {
        ($variant:ident $(, $of:expr)?) => {{
            let item = |value| match value {
                Value::$variant(value) => Ok(value$(.map($of))?),
                other => Err(StoreError::Setup(format!("{other:?} is in a column of another type"))),
            };
            let mut values = column.into_iter().map(item).collect::<Result<Vec<_>>>()?;
            if is_one { arguments.add(values.pop().flatten()) } else { arguments.add(values) }
        }};
    }
    let added = match column.first() {
        Some(Value::Bool(_)) => typed!(Bool),
        Some(Value::BigInt(_)) => typed!(BigInt),
        Some(Value::Double(_)) => typed!(Double),
        Some(Value::String(_)) => typed!(String),
        Some(Value::Bytes(_)) => typed!(Bytes),
        Some(Value::Json(_)) => typed!(Json, |json| *json),
        Some(Value::ChronoDateTimeUtc(_)) => typed!(ChronoDateTimeUtc),
        Some(Value::Uuid(_)) => typed!(Uuid),
        other => return Err(StoreError::Setup(format!("{other:?} cannot be inserted"))),
    };
    Ok(added.map_err(sqlx::Error::Encode)?)
}

/// The same in SQLite, which has no arrays: as few statements as its limit on parameters allows.
fn statements(
    tenant: TenantId,
    table: &str,
    columns: &[&'static str],
    rows: &[Vec<Value>],
    suffix: &str,
) -> Vec<(SqlStr, Vec<Value>)> {
    let names = names(columns);
    let width = columns.len() + 1;
    let statement = |rows: &[Vec<Value>]| {
        let marks = format!("({})", vec!["?"; width].join(", "));
        let sql = format!("INSERT INTO {table} ({names}) VALUES {}{suffix}", vec![marks; rows.len()].join(", "));
        let values = rows.iter().flat_map(|row| std::iter::once(tenant.bind()).chain(row.iter().cloned()));
        (AssertSqlSafe(sql).into_sql_str(), values.collect())
    };
    rows.chunks(PARAMETERS_MAX / width).map(statement).collect()
}

fn names(columns: &[&'static str]) -> String {
    format!("tenant_id, {}", columns.join(", "))
}

impl TenantTx {
    /// Insert rows of this tenant; `tenant_id` is filled in.
    pub async fn insert_many(
        &mut self,
        table: &'static str,
        columns: &[&'static str],
        rows: Vec<Vec<Value>>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.settle().await?;
        if self.conn.is_postgres() {
            let (sql, arguments) = statement(self.tenant, vec![Insert::of(table, columns, rows)], "", "")?;
            query_with(sql, arguments).execute(self.conn.postgres()?).await?;
            return Ok(());
        }
        for (sql, values) in statements(self.tenant, table, columns, &rows, "") {
            self.conn.execute(sql, values).await?;
        }
        Ok(())
    }

    /// The same for rows that can clash with nothing. They wait for the next other statement
    /// here, or for the commit, so that those of several tables take one round trip.
    pub(crate) async fn insert_later(
        &mut self,
        table: &'static str,
        columns: &[&'static str],
        mut rows: Vec<Vec<Value>>,
    ) -> Result<()> {
        if !self.conn.is_postgres() {
            return self.insert_many(table, columns, rows).await;
        }
        if rows.is_empty() {
            return Ok(());
        }
        let insert = Insert::of(table, columns, Vec::new());
        match self.later.iter_mut().find(|later| later.head == insert.head) {
            Some(later) => later.rows.append(&mut rows),
            None => self.later.push(Insert { rows, ..insert }),
        }
        Ok(())
    }

    /// Write the rows that wait.
    pub(crate) async fn write_later(&mut self) -> Result<()> {
        if let Some((sql, arguments)) = self.take_later("", "")? {
            query_with(sql, arguments).execute(self.conn.postgres()?).await?;
        }
        Ok(())
    }

    /// One statement that writes all rows that wait.
    pub(crate) fn take_later(&mut self, suffix: &str, returning: &str) -> Result<Option<(SqlStr, PgArguments)>> {
        let later = std::mem::take(&mut self.later);
        if later.is_empty() { Ok(None) } else { statement(self.tenant, later, suffix, returning).map(Some) }
    }

    /// The same, but rows whose key is taken, by others or by each other, are left out; the
    /// ids of those that were not. The key is that of a partial index.
    pub(crate) async fn insert_unless_taken(
        &mut self,
        table: &'static str,
        columns: &[&'static str],
        rows: Vec<Vec<Value>>,
        key: &'static str,
    ) -> Result<Vec<Uuid>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.settle().await?;
        let suffix = format!(" ON CONFLICT {key} DO NOTHING RETURNING id");
        let mut inserted: Vec<(Uuid,)> = Vec::new();
        if self.conn.is_postgres() {
            let (sql, arguments) = statement(self.tenant, vec![Insert::of(table, columns, rows)], &suffix, "")?;
            inserted = query_as_with(sql, arguments).fetch_all(self.conn.postgres()?).await?;
        } else {
            for (sql, values) in statements(self.tenant, table, columns, &rows, &suffix) {
                inserted.extend(self.conn.fetch_all::<(Uuid,)>(sql, values).await?);
            }
        }
        Ok(inserted.into_iter().map(|(id,)| id).collect())
    }
}
