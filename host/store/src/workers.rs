//! Processes that run jobs.

use purlin_domain::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{PlatformTx, Result, value::params};

/// A process that runs jobs, from one boot to its end.
#[derive(Clone, Debug, FromRow)]
pub struct Worker {
    /// This boot of it.
    pub id: Uuid,
    /// The machine, for people.
    pub host: String,
    /// Jobs it runs at the same time.
    pub slots: i64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last said that it runs.
    pub beat_at: Timestamp,
}

/// Say that this one runs.
pub async fn beat(tx: &mut PlatformTx, worker: &Worker) -> Result<()> {
    tx.execute(
        "INSERT INTO workers (id, host, slots, started_at, beat_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at",
        params![worker.id, &worker.host, worker.slots, worker.started_at, worker.beat_at],
    )
    .await?;
    Ok(())
}

/// Say that this one ended.
pub async fn delete(tx: &mut PlatformTx, id: Uuid) -> Result<()> {
    tx.execute("DELETE FROM workers WHERE id = $1", params![id]).await?;
    Ok(())
}

/// Those that said so after `since`.
pub async fn list(tx: &mut PlatformTx, since: Timestamp) -> Result<Vec<Worker>> {
    tx.fetch_all(
        "SELECT id, host, slots, started_at, beat_at FROM workers WHERE beat_at > $1 ORDER BY started_at",
        params![since],
    )
    .await
}

/// Forget those that were not heard of since.
pub async fn delete_before(tx: &mut PlatformTx, cutoff: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM workers WHERE beat_at < $1", params![cutoff]).await
}
