//! A transaction, or a read, of one tenant.

use purlin_domain::id::TenantId;
use sea_query::Value;
#[cfg(not(feature = "mutants"))]
use sqlx::SqlSafeStr;
use sqlx::{SqlStr, query_as_with};

use crate::{
    Entity, Result, Weigh,
    built::inserts::Insert,
    conn::{Conn, delegate_statements},
    db::{self, ConnectionShare},
    postgres,
    usage::Stored,
    value::Bind,
};

/// A use of the database on behalf of one tenant. Its id is `$1` of every statement,
/// bound here and nowhere else; PostgreSQL's row-level security holds the same id.
///
/// Dropped without [`commit`](Self::commit), nothing of it stays.
pub struct TenantTx {
    pub(crate) tenant: TenantId,
    pub(crate) conn: Conn,
    /// Rows that wait for the next statement.
    pub(crate) later: Vec<Insert>,
    /// Bytes of what was added that stays for a time.
    pub(crate) stored: Stored,
    /// Given back after the connection.
    share: Option<ConnectionShare>,
}

impl TenantTx {
    pub(crate) fn new(tenant: TenantId, conn: Conn, share: Option<ConnectionShare>) -> Self {
        Self { tenant, conn, later: Vec::new(), stored: Stored::default(), share }
    }

    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Bytes of what it added that stays for a time.
    pub fn stored(&self) -> Stored {
        self.stored
    }

    delegate_statements!(with_tenant, text);

    /// Rows until they weigh too much together, the last one included; whether that cut them
    /// short.
    pub(crate) async fn fetch_within<T: Entity + Weigh>(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
        bytes_max: usize,
    ) -> Result<(Vec<T>, bool)> {
        self.settle().await?;
        let values = self.with_tenant(sql, values);
        self.conn.fetch_within(Self::text(sql), values, bytes_max).await
    }

    /// Make everything done here last.
    pub async fn commit(mut self) -> Result<()> {
        if let Conn::PostgresToBegin(pool, shares) = &self.conn {
            let (pool, shares) = (pool.clone(), shares.clone());
            return match self.take_later(postgres::NAMES_TENANT, "")? {
                Some((sql, arguments)) => {
                    let _share = db::take(&shares, Some(self.tenant)).await?;
                    postgres::execute_alone(&pool, sql, arguments).await
                }
                None => Ok(()),
            };
        }
        self.write_later().await?;
        self.conn.commit().await
    }

    /// The same with one more insert in the end; what that returns. PostgreSQL alone.
    pub(crate) async fn commit_with<T: Entity>(mut self, last: Insert, returning: &str) -> Result<Vec<T>> {
        self.later.push(last);
        let names_tenant = if matches!(self.conn, Conn::PostgresToBegin(..)) { postgres::NAMES_TENANT } else { "" };
        let Some((sql, arguments)) = self.take_later(names_tenant, returning)? else { return Ok(Vec::new()) };
        if let Conn::PostgresToBegin(pool, shares) = &self.conn {
            let _share = db::take(shares, Some(self.tenant)).await?;
            return postgres::fetch_alone(pool, sql, arguments).await;
        }
        let rows = query_as_with(sql, arguments).fetch_all(self.conn.postgres()?).await?;
        self.conn.commit().await?;
        Ok(rows)
    }

    #[cfg(not(feature = "mutants"))]
    fn text(sql: &'static str) -> SqlStr {
        sql.into_sql_str()
    }

    #[cfg(feature = "mutants")]
    fn text(sql: &'static str) -> SqlStr {
        crate::mutants::rewrite(sql)
    }

    /// Begin the transaction if it was not, and write the rows that wait.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        if let Conn::PostgresToBegin(pool, shares) = &self.conn {
            self.share = Some(db::take(shares, Some(self.tenant)).await?);
            self.conn = Conn::Postgres(postgres::begin_tenant(pool, self.tenant).await?);
        }
        self.write_later().await
    }

    fn with_tenant(&self, sql: &'static str, values: Vec<Value>) -> Vec<Value> {
        debug_assert!(names_tenant(sql), "a statement of a tenant must name its tenant: {sql}");
        let mut all = Vec::with_capacity(values.len() + 1);
        all.push(self.tenant.bind());
        all.extend(values);
        all
    }
}

/// Whether a statement is bound to its tenant: it compares or fills `tenant_id`, or it
/// is about the table of tenants itself.
fn names_tenant(sql: &str) -> bool {
    sql.contains("$1") && (sql.contains("tenant_id") || sql.contains("tenants"))
}
