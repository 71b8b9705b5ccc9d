//! What a tenant uses of its plan.

use crate::{Result, TenantTx, value::params};

/// Users who are not deleted.
pub async fn users(tx: &mut TenantTx) -> Result<i64> {
    let (count,): (i64,) =
        tx.fetch_one("SELECT count(*) FROM users WHERE tenant_id = $1 AND deleted_at IS NULL", params![]).await?;
    Ok(count)
}

/// Enabled plugins, those that the host paused among them.
pub async fn plugins(tx: &mut TenantTx) -> Result<i64> {
    let (count,): (i64,) = tx
        .fetch_one("SELECT count(*) FROM installations WHERE tenant_id = $1 AND state <> 'disabled'", params![])
        .await?;
    Ok(count)
}

/// Bytes of record data, as JSON text.
pub async fn storage_bytes(tx: &mut TenantTx) -> Result<i64> {
    let sql = if tx.conn.is_postgres() {
        "SELECT CAST(coalesce(sum(octet_length(data::text)), 0) AS bigint) FROM records WHERE tenant_id = $1"
    } else {
        "SELECT coalesce(sum(length(CAST(data AS blob))), 0) FROM records WHERE tenant_id = $1"
    };
    let (bytes,): (i64,) = tx.fetch_one(sql, params![]).await?;
    Ok(bytes)
}
