//! Jobs whose time comes. Suspects are [claimed](super::claim_suspect) one by one instead.

use purlin_domain::Timestamp;

use crate::{PlatformTx, Result, value::params};

/// Make jobs ready whose time has come, so many at a time; how many.
pub async fn promote(tx: &mut PlatformTx, now: Timestamp, most: u32) -> Result<u64> {
    let sql = if tx.conn.is_postgres() {
        "WITH due AS MATERIALIZED (
            SELECT j.ctid AS place FROM jobs j WHERE j.state = 'scheduled' AND NOT j.is_suspect AND j.run_at <= $1
            ORDER BY j.run_at LIMIT $2 FOR NO KEY UPDATE OF j SKIP LOCKED
         )
         UPDATE jobs SET state = 'ready' WHERE ctid = ANY (ARRAY(SELECT d.place FROM due d))"
    } else {
        "UPDATE jobs SET state = 'ready' WHERE seq IN (
            SELECT seq FROM jobs WHERE state = 'scheduled' AND NOT is_suspect AND run_at <= $1 ORDER BY run_at LIMIT $2)"
    };
    tx.execute(sql, params![now, most]).await
}

/// When the next scheduled job is due.
pub async fn next_due(tx: &mut PlatformTx) -> Result<Option<Timestamp>> {
    let row: Option<(Timestamp,)> = tx
        .fetch_optional(
            "SELECT run_at FROM jobs WHERE state = 'scheduled' AND NOT is_suspect ORDER BY run_at LIMIT 1",
            Vec::new(),
        )
        .await?;
    Ok(row.map(|(at,)| at))
}
