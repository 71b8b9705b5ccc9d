//! Answers to writes that named an `Idempotency-Key`, kept with what they did.

use purlin_domain::Timestamp;
use sqlx::FromRow;

use crate::{PlatformTx, Result, TenantTx, value::params};

/// What was answered.
#[derive(Clone, Debug, FromRow)]
pub struct Answered {
    /// A digest of the request.
    pub request_hash: String,
    /// The answer, sealed.
    pub response: Vec<u8>,
}

/// What this actor was answered under this key, since then.
pub async fn find(tx: &mut TenantTx, actor: &str, key: &str, since: Timestamp) -> Result<Option<Answered>> {
    tx.fetch_optional(
        "SELECT request_hash, response FROM idempotency_keys
         WHERE tenant_id = $1 AND actor = $2 AND key = $3 AND created_at >= $4",
        params![actor, key, since],
    )
    .await
}

/// Keep an answer, in the transaction that it answers for. Fails with `Taken` when another
/// request was answered under the key since then.
pub async fn insert(
    tx: &mut TenantTx,
    actor: &str,
    key: &str,
    answered: &Answered,
    now: Timestamp,
    since: Timestamp,
) -> Result<()> {
    tx.execute(
        "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND actor = $2 AND key = $3 AND created_at < $4",
        params![actor, key, since],
    )
    .await?;
    tx.stored.answers += 300 + i64::try_from(answered.response.len()).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO idempotency_keys (tenant_id, actor, key, request_hash, response, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![actor, key, &answered.request_hash, answered.response.clone(), now],
    )
    .await?;
    Ok(())
}

/// Forget answers older than this.
pub async fn delete_before(tx: &mut PlatformTx, cutoff: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM idempotency_keys WHERE created_at < $1", params![cutoff]).await
}
