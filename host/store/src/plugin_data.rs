//! Everything a plugin has in a tenant, to be counted or erased.

use purlin_domain::id::JobId;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Result, TenantTx, value::params};

/// Records of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow, JsonSchema)]
pub struct RecordsOf {
    /// The collection.
    pub collection: String,
    /// How many.
    pub records: i64,
}

/// How many records there are in each collection.
pub async fn records(tx: &mut TenantTx, plugin: &str) -> Result<Vec<RecordsOf>> {
    tx.fetch_all(
        "SELECT collection, count(*) AS records FROM records WHERE tenant_id = $1 AND plugin = $2
         GROUP BY collection ORDER BY collection",
        params![plugin],
    )
    .await
}

/// Unfinished jobs and dead letters.
pub async fn jobs(tx: &mut TenantTx, plugin: &str) -> Result<i64> {
    let (count,): (i64,) =
        tx.fetch_one("SELECT count(*) FROM jobs WHERE tenant_id = $1 AND plugin = $2", params![plugin]).await?;
    Ok(count)
}

/// Jobs that wait, so many at most.
pub async fn waiting_jobs(tx: &mut TenantTx, plugin: &str, most: u32) -> Result<Vec<JobId>> {
    let rows: Vec<(Uuid,)> = tx
        .fetch_all(
            "SELECT id FROM jobs WHERE tenant_id = $1 AND plugin = $2 AND state IN ('scheduled', 'waiting', 'ready') LIMIT $3",
            params![plugin, most],
        )
        .await?;
    Ok(rows.into_iter().map(|(id,)| JobId(id)).collect())
}

/// Erase records and their keys, so many at most; how many went.
pub async fn erase_records(tx: &mut TenantTx, plugin: &str, most: u32) -> Result<u64> {
    tx.execute(
        "DELETE FROM record_keys WHERE tenant_id = $1 AND plugin = $2 AND record_id IN (
            SELECT id FROM records WHERE tenant_id = $1 AND plugin = $2 ORDER BY collection, id LIMIT $3)",
        params![plugin, most],
    )
    .await?;
    tx.execute(
        "DELETE FROM records WHERE tenant_id = $1 AND plugin = $2 AND id IN (
            SELECT id FROM records WHERE tenant_id = $1 AND plugin = $2 ORDER BY collection, id LIMIT $3)",
        params![plugin, most],
    )
    .await
}

/// Erase dead letters, the log and the keys that were locked.
pub async fn erase_rest(tx: &mut TenantTx, plugin: &str) -> Result<()> {
    for sql in [
        "DELETE FROM jobs WHERE tenant_id = $1 AND plugin = $2 AND state = 'dead'",
        "DELETE FROM plugin_logs WHERE tenant_id = $1 AND plugin = $2",
        "DELETE FROM record_locks WHERE tenant_id = $1 AND plugin = $2",
    ] {
        tx.execute(sql, params![plugin]).await?;
    }
    Ok(())
}
