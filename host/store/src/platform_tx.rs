//! A transaction that crosses tenants: sign-in look-ups, claiming jobs, the catalogue
//! of plugins. In PostgreSQL it runs as the role `purlin_platform`, which is granted
//! just that.

use sea_query::Value;
use sqlx::{SqlSafeStr, SqlStr};

use crate::{
    Result,
    conn::{Conn, delegate_statements},
    db::ConnectionShare,
};

/// A use of the database that belongs to no tenant.
pub struct PlatformTx {
    pub(crate) conn: Conn,
    /// Given back after the connection.
    _share: Option<ConnectionShare>,
}

impl PlatformTx {
    pub(crate) fn new(conn: Conn, share: Option<ConnectionShare>) -> Self {
        Self { conn, _share: share }
    }

    delegate_statements!(as_given, text);

    /// Make everything done here last.
    pub async fn commit(self) -> Result<()> {
        self.conn.commit().await
    }

    /// Nothing waits here to be written.
    async fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    fn text(sql: &'static str) -> SqlStr {
        sql.into_sql_str()
    }

    fn as_given(&self, _sql: &'static str, values: Vec<Value>) -> Vec<Value> {
        values
    }
}
