//! The one place where SQL is built at run time: lists with filter, sort and cursor, which
//! `sea-query` writes, and [inserts] of many rows, of names that are in the code. Values are
//! always bound.

pub(crate) mod inserts;

use purlin_domain::{
    filter::{Field, FieldType, Filter, Op, Operand, Source, folded_literals, literals},
    id::TenantId,
    mark::{Lookup, Marks},
    name::is_word,
    number::Number,
    sort::SortKey,
};
use sea_query::{
    Alias, Asterisk, Condition, Expr, ExprTrait, Func, LikeExpr, NullOrdering, Order, PostgresQueryBuilder, Query,
    QueryStatementWriter, SelectStatement, SqliteQueryBuilder, Value, Values,
};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::{Entity, PlatformTx, Result, StoreError, TenantTx, Weigh, conn::Conn, sqlite, value::Bind};

/// A list: what of which rows, in what order, from where.
#[derive(Clone, Debug)]
pub struct Listing<'a> {
    /// The table.
    pub table: &'static str,
    /// The columns to fetch.
    pub columns: &'static [&'static str],
    /// Columns that must have these values, beside `tenant_id`; null where the value is none.
    pub scope: Vec<(&'static str, Option<Value>)>,
    /// What the caller asks for of it.
    pub slice: &'a Slice<'a>,
}

/// What a caller asks for of a list.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// What passes.
    pub filter: &'a Filter,
    /// The order; its last key is the id.
    pub sort: &'a [SortKey],
    /// The values of the sort keys of the row that the page follows, or precedes.
    pub from: Option<&'a [Option<Operand>]>,
    /// Whether the page precedes that row.
    pub backwards: bool,
    /// Rows at most.
    pub size: u32,
    /// Whether to count all that passes.
    pub count: bool,
    /// What to look up in the index of a collection: all that passes is there.
    pub lookup: Option<&'a Lookup>,
}

impl<'a> Slice<'a> {
    /// The first rows that pass.
    pub fn first(filter: &'a Filter, sort: &'a [SortKey], size: u32) -> Self {
        Self { filter, sort, from: None, backwards: false, size, count: false, lookup: None }
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Whether more lie beyond, in the direction asked for.
    pub more: bool,
    /// How many pass in all, where that was asked for.
    pub total: Option<i64>,
}

/// Bytes of documents in one page, give or take a row: a page of large rows is shorter
/// than it was asked to be.
pub(crate) const PAGE_BYTES_MAX: usize = 8 << 20;

impl TenantTx {
    /// A page of a list of this tenant.
    pub async fn list<T: Entity + Weigh>(&mut self, listing: &Listing<'_>) -> Result<Page<T>> {
        self.settle().await?;
        page(&mut self.conn, Some(self.tenant), listing).await
    }

    /// How many rows of this tenant pass.
    pub async fn count(
        &mut self,
        table: &'static str,
        scope: &[(&'static str, Option<Value>)],
        filter: &Filter,
        lookup: Option<&Lookup>,
    ) -> Result<i64> {
        self.settle().await?;
        count(&mut self.conn, Some(self.tenant), table, scope, (filter, lookup)).await
    }
}

impl PlatformTx {
    /// A page of a list that crosses tenants.
    pub async fn list<T: Entity + Weigh>(&mut self, listing: &Listing<'_>) -> Result<Page<T>> {
        page(&mut self.conn, None, listing).await
    }
}

async fn page<T: Entity + Weigh>(conn: &mut Conn, tenant: Option<TenantId>, listing: &Listing<'_>) -> Result<Page<T>> {
    let Listing { table, columns, scope, slice } = listing;
    let dialect = Dialect::of(conn);
    let passing = (slice.filter, slice.lookup);
    let mut select = rows_of(tenant, table, scope, passing, dialect)?;
    select.columns(columns.iter().map(|c| Alias::new(*c)));
    if let Some(from) = slice.from {
        let beyond =
            if slice.backwards { before(slice.sort, from, dialect)? } else { after(slice.sort, from, dialect)? };
        select.cond_where(beyond);
    }
    for key in slice.sort {
        let order = if key.descending == slice.backwards { Order::Asc } else { Order::Desc };
        let expr = dialect.expr(&key.field)?;
        if key.field.nullable {
            let nulls = if slice.backwards { NullOrdering::First } else { NullOrdering::Last };
            select.order_by_expr_with_nulls(expr, order, nulls);
        } else {
            // As an index has it.
            select.order_by_expr(expr, order);
        }
    }
    select.limit(u64::from(slice.size) + 1);
    let (sql, values) = dialect.build(&select);
    if !is_short(slice) {
        conn.bound().await?;
    }
    let (mut rows, cut): (Vec<T>, bool) = conn.fetch_within(sql, values, PAGE_BYTES_MAX).await?;
    let more = cut || rows.len() > slice.size as usize;
    rows.truncate(slice.size as usize);
    if slice.backwards {
        rows.reverse();
    }
    let total = if slice.count { Some(count(conn, tenant, table, scope, passing).await?) } else { None };
    conn.free();
    Ok(Page { rows, more, total })
}

/// Whether a list reads no more rows than it returns: to bound it takes longer than to read them.
fn is_short(slice: &Slice<'_>) -> bool {
    let is_everything = matches!(slice.filter, Filter::And(parts) if parts.iter().all(|part| matches!(part, Filter::And(all) if all.is_empty())));
    let along_an_index = slice.sort.iter().all(|key| matches!(key.field.name.as_str(), "created_at" | "id"));
    is_everything && along_an_index && !slice.count && slice.lookup.is_none()
}

async fn count(
    conn: &mut Conn,
    tenant: Option<TenantId>,
    table: &'static str,
    scope: &[(&'static str, Option<Value>)],
    passing: (&Filter, Option<&Lookup>),
) -> Result<i64> {
    let dialect = Dialect::of(conn);
    let mut select = rows_of(tenant, table, scope, passing, dialect)?;
    select.expr(Func::count(Expr::col(Asterisk)));
    let (sql, values) = dialect.build(&select);
    conn.bound().await?;
    let (count,): (i64,) = conn.fetch_one(sql, values).await?;
    conn.free();
    Ok(count)
}

fn rows_of(
    tenant: Option<TenantId>,
    table: &'static str,
    scope: &[(&'static str, Option<Value>)],
    (filter, lookup): (&Filter, Option<&Lookup>),
    dialect: Dialect,
) -> Result<SelectStatement> {
    let mut select = of_tenant(tenant, table, scope);
    if let Some(Lookup { property, marks }) = lookup {
        let mut marked = of_tenant(tenant, "record_marks", scope);
        let mark = || Expr::col(Alias::new("mark"));
        marked.column(Alias::new("record_id")).and_where(Expr::col(Alias::new("property")).eq(property.as_str()));
        marked.and_where(match marks {
            Marks::Any(marks) => mark().is_in(marks.iter().map(String::as_str)),
            Marks::Between(from, to) => mark().between(from.as_str(), to.as_str()),
        });
        let id = Expr::col(Alias::new("id"));
        select.and_where(match dialect {
            // The ids are found first, and then their rows by key, whatever the statistics say: while
            // there are none, a join would read the marks anew for each row.
            Dialect::Postgres => {
                id.eq(Func::cust("ANY").arg(Func::cust("ARRAY").arg(Expr::SubQuery(None, Box::new(marked.into())))))
            }
            Dialect::Sqlite => id.in_subquery(marked),
        });
    }
    select.cond_where(condition(filter, dialect)?);
    Ok(select)
}

/// The rows of a tenant in a scope.
fn of_tenant(
    tenant: Option<TenantId>,
    table: &'static str,
    scope: &[(&'static str, Option<Value>)],
) -> SelectStatement {
    let mut select = Query::select();
    select.from(Alias::new(table));
    #[cfg(feature = "mutants")]
    let tenant = tenant.filter(|_| !crate::mutants::forgets(crate::mutants::LISTS));
    if let Some(tenant) = tenant {
        select.and_where(Expr::col(Alias::new("tenant_id")).eq(Expr::val(tenant.bind())));
    }
    for (column, value) in scope {
        let column = Expr::col(Alias::new(*column));
        select.and_where(match value {
            Some(value) => column.eq(Expr::val(value.clone())),
            None => column.is_null(),
        });
    }
    select
}

fn condition(filter: &Filter, dialect: Dialect) -> Result<Condition> {
    Ok(match filter {
        Filter::And(parts) => add_all(Condition::all(), parts, dialect)?,
        Filter::Or(parts) if parts.is_empty() => Condition::all().add(Expr::val(false)),
        Filter::Or(parts) => add_all(Condition::any(), parts, dialect)?,
        Filter::Not(part) => condition(part, dialect)?.not(),
        Filter::Is(field, op, operands) => Condition::all().add(predicate(field, *op, operands, dialect)?),
    })
}

fn add_all(mut all: Condition, parts: &[Filter], dialect: Dialect) -> Result<Condition> {
    for part in parts {
        all = all.add(condition(part, dialect)?);
    }
    Ok(all)
}

fn predicate(field: &Field, op: Op, operands: &[Operand], dialect: Dialect) -> Result<Expr> {
    let expr = dialect.expr(field)?;
    let list = || operands.iter().map(|operand| dialect.operand(field, operand)).collect::<Vec<_>>();
    let Some(first) = operands.first() else {
        return Err(StoreError::Setup(format!("a predicate on {} has no operand", field.name)));
    };
    let value = || dialect.operand(field, first);
    Ok(match op {
        Op::Eq => expr.eq(value()),
        Op::Ne => expr.ne(value()),
        Op::Gt => expr.gt(value()),
        Op::Gte => expr.gte(value()),
        Op::Lt => expr.lt(value()),
        Op::Lte => expr.lte(value()),
        Op::In => expr.is_in(list()),
        Op::Nin => expr.is_not_in(list()),
        Op::Like => expr.like(pattern(literals(text(first)))),
        Op::Ilike => dialect.folded(field, expr).like(pattern(folded_literals(text(first)))),
        Op::Null if *first == Operand::Boolean(true) => expr.is_null(),
        Op::Null => expr.is_not_null(),
    })
}

fn text(operand: &Operand) -> &str {
    match operand {
        Operand::Text(text) => text,
        _ => "",
    }
}

/// The pattern with these texts between its wildcards; what LIKE would take for a wildcard is escaped.
fn pattern(literals: Vec<String>) -> LikeExpr {
    let escaped = |text: String| text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    LikeExpr::new(literals.into_iter().map(escaped).collect::<Vec<_>>().join("%")).escape('\\')
}

/// The rows that come after these values in this order; missing values come last.
fn after(sort: &[SortKey], from: &[Option<Operand>], dialect: Dialect) -> Result<Condition> {
    if let Some(condition) = beyond(sort, from, false, dialect)? {
        return Ok(condition);
    }
    let (Some((key, keys)), Some((value, values))) = (sort.split_first(), from.split_first()) else {
        return Ok(Condition::any().add(Expr::val(false)));
    };
    let expr = || dialect.expr(&key.field);
    let rest = after(keys, values, dialect)?;
    let Some(value) = value else {
        return Ok(Condition::all().add(expr()?.is_null()).add(rest));
    };
    let bound = dialect.operand(&key.field, value);
    let further = if key.descending { expr()?.lt(bound.clone()) } else { expr()?.gt(bound.clone()) };
    let equal = Condition::all().add(expr()?.eq(bound)).add(rest);
    let any = Condition::any().add(further).add(equal);
    Ok(if key.field.nullable { any.add(expr()?.is_null()) } else { any })
}

/// The rows that come before these values in this order.
fn before(sort: &[SortKey], from: &[Option<Operand>], dialect: Dialect) -> Result<Condition> {
    if let Some(condition) = beyond(sort, from, true, dialect)? {
        return Ok(condition);
    }
    let (Some((key, keys)), Some((value, values))) = (sort.split_first(), from.split_first()) else {
        return Ok(Condition::any().add(Expr::val(false)));
    };
    let expr = || dialect.expr(&key.field);
    let rest = before(keys, values, dialect)?;
    let Some(value) = value else {
        let equal = Condition::all().add(expr()?.is_null()).add(rest);
        return Ok(Condition::any().add(expr()?.is_not_null()).add(equal));
    };
    let bound = dialect.operand(&key.field, value);
    let nearer = if key.descending { expr()?.gt(bound.clone()) } else { expr()?.lt(bound.clone()) };
    let equal = Condition::all().add(expr()?.eq(bound)).add(rest);
    Ok(Condition::any().add(nearer).add(equal))
}

/// The same as one comparison of rows, which an index answers: where every row has all of
/// the values, and all keys run in one direction.
fn beyond(sort: &[SortKey], from: &[Option<Operand>], backwards: bool, dialect: Dialect) -> Result<Option<Condition>> {
    let Some(first) = sort.first() else { return Ok(None) };
    if sort.iter().any(|key| key.field.nullable || key.descending != first.descending) {
        return Ok(None);
    }
    let operand = |(key, value): (&SortKey, &Option<Operand>)| Some(dialect.operand(&key.field, value.as_ref()?));
    let Some(values) = sort.iter().zip(from).map(operand).collect() else {
        return Ok(None);
    };
    let row = Expr::tuple(sort.iter().map(|key| dialect.expr(&key.field)).collect::<Result<Vec<_>>>()?);
    let place = Expr::tuple::<Vec<Expr>>(values);
    let condition = if first.descending == backwards { row.gt(place) } else { row.lt(place) };
    Ok(Some(Condition::all().add(condition)))
}

/// How a text begins that tells of an instant.
const INSTANT_GLOB: &str = "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9]*";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Postgres,
    Sqlite,
}

impl Dialect {
    fn of(conn: &Conn) -> Self {
        if conn.is_postgres() { Self::Postgres } else { Self::Sqlite }
    }

    /// A value to compare a field with. PostgreSQL keeps a statement with the types that its
    /// parameters had first, so each place of a text has one: a number is a decimal, whole or not.
    /// SQLite compares the numbers of documents as texts, under a collation of their values.
    fn operand(self, field: &Field, operand: &Operand) -> Expr {
        match (operand, self) {
            (Operand::Text(text), _) => Expr::val(text.as_str().bind()),
            (Operand::Number(number), Self::Postgres) => {
                Expr::val(number.to_string().bind()).cast_as(Alias::new("numeric"))
            }
            (Operand::Number(number), Self::Sqlite) if field.source == Source::Data => {
                Expr::val(number.to_string().bind())
            }
            (Operand::Number(Number::Whole(whole)), Self::Sqlite) => Expr::val(whole.bind()),
            (Operand::Number(Number::Double(double)), Self::Sqlite) => Expr::val(double.bind()),
            (Operand::Boolean(value), _) => Expr::val(value.bind()),
            (Operand::Timestamp(time), Self::Postgres) if field.source == Source::Data => {
                Expr::val(time.timestamp_micros().bind())
            }
            (Operand::Timestamp(time), Self::Sqlite) if field.source == Source::Data => {
                Expr::val(time.to_rfc3339().bind())
            }
            (Operand::Timestamp(time), _) => Expr::val(time.bind()),
            (Operand::Uuid(id), _) => Expr::val(id.bind()),
        }
    }

    /// A field as an expression of its type. Text compares by its bytes in both.
    fn expr(self, field: &Field) -> Result<Expr> {
        if !is_word(&field.name) {
            return Err(StoreError::Setup(format!("`{}` cannot be a field", field.name)));
        }
        let name = &field.name;
        let (is_type, value) = match (self, field.source) {
            (_, Source::Column) => (None, format!("\"{name}\"")),
            (Self::Postgres, Source::Data) => {
                (Some(format!("jsonb_typeof(data->'{name}')")), format!("data->>'{name}'"))
            }
            (Self::Sqlite, Source::Data) => {
                (Some(format!("json_type(data, '$.\"{name}\"')")), format!("data->>'{name}'"))
            }
        };
        // A value of another type, left by an older version of the plugin, counts as missing.
        let value = match (is_type, field.field_type) {
            (None, _) => value,
            (Some(found), FieldType::Number) if self == Self::Sqlite => {
                format!("CASE WHEN {found} IN ('integer', 'real') THEN data->'$.\"{name}\"' END")
            }
            (Some(found), FieldType::Number) => {
                format!("CASE WHEN {found} = 'number' THEN CAST({value} AS NUMERIC) END")
            }
            (Some(found), FieldType::Boolean) => {
                format!("CASE WHEN {found} IN ('boolean', 'true', 'false') THEN CAST({value} AS BOOLEAN) END")
            }
            (Some(found), FieldType::Timestamp) if self == Self::Postgres => {
                format!("CASE WHEN {found} = 'string' THEN purlin_instant({value}) END")
            }
            (Some(found), FieldType::Timestamp) => {
                format!("CASE WHEN {found} = 'text' AND {value} GLOB '{INSTANT_GLOB}' THEN {value} END")
            }
            (Some(found), _) => format!("CASE WHEN {found} IN ('string', 'text') THEN {value} END"),
        };
        Ok(Expr::cust(match (field.field_type, self) {
            (FieldType::Text, Self::Postgres) => format!("(({value}) COLLATE \"C\")"),
            (FieldType::Number, Self::Sqlite) if field.source == Source::Data => {
                format!("(({value}) COLLATE {})", sqlite::NUMBER)
            }
            (FieldType::Timestamp, Self::Sqlite) if field.source == Source::Data => {
                format!("(({value}) COLLATE {})", sqlite::INSTANT)
            }
            _ => format!("({value})"),
        }))
    }

    /// The folded form of a text field: the copy that is stored, or its ASCII letters in lower case
    /// where there is none.
    fn folded(self, field: &Field, text: Expr) -> Expr {
        let lower = Expr::expr(Func::lower(text));
        if field.folded {
            Expr::expr(Func::coalesce([Expr::cust(format!("folded->>'{}'", field.name)), lower]))
        } else {
            lower
        }
    }

    fn build(self, statement: &impl QueryStatementWriter) -> (SqlStr, Vec<Value>) {
        let (sql, Values(values)) = match self {
            Self::Postgres => statement.build_any(&PostgresQueryBuilder),
            Self::Sqlite => statement.build_any(&SqliteQueryBuilder),
        };
        (AssertSqlSafe(sql).into_sql_str(), values)
    }
}
