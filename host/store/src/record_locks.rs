//! The keys that plugins lock, each with the version that the last commit under it gave it.

use purlin_domain::Timestamp;
use uuid::Uuid;

use crate::{PlatformTx, Result, TenantTx, value::params};

/// The version of a key; none while nobody has locked it.
pub async fn version(tx: &mut TenantTx, plugin: &str, key: &str) -> Result<Option<Uuid>> {
    let row: Option<(Uuid,)> = tx
        .fetch_optional(
            "SELECT version FROM record_locks WHERE tenant_id = $1 AND plugin = $2 AND key = $3",
            params![plugin, key],
        )
        .await?;
    Ok(row.map(|(version,)| version))
}

/// Give a key another version if it still has `expected`, locked until the transaction ends; whether
/// it had.
pub async fn take(
    tx: &mut TenantTx,
    plugin: &str,
    key: &str,
    expected: Option<Uuid>,
    next: Uuid,
    now: Timestamp,
) -> Result<bool> {
    let changed = match expected {
        Some(expected) => {
            tx.execute(
                "UPDATE record_locks SET version = $4, locked_at = $5
                 WHERE tenant_id = $1 AND plugin = $2 AND key = $3 AND version = $6",
                params![plugin, key, next, now, expected],
            )
            .await?
        }
        None => {
            tx.execute(
                "INSERT INTO record_locks (tenant_id, plugin, key, version, locked_at) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT DO NOTHING",
                params![plugin, key, next, now],
            )
            .await?
        }
    };
    Ok(changed == 1)
}

/// Forget keys that nobody has locked since then: no invocation lasts so long.
pub async fn delete_before(tx: &mut PlatformTx, cutoff: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM record_locks WHERE locked_at < $1", params![cutoff]).await
}
