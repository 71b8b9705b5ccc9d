//! What mails carry: proof of an address, leave to set a new password. Used once.

use purlin_domain::{Timestamp, id::UserId};
use uuid::Uuid;

use crate::{PlatformTx, Result, TenantTx, value::params};

/// A token about to be sent. Older ones of the user for the same purpose end with it; one
/// that was used stays used, however often its mail is sent.
pub async fn replace(
    tx: &mut TenantTx,
    id: Uuid,
    user: UserId,
    purpose: &str,
    secret_hash: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    tx.execute(
        "DELETE FROM one_time_tokens WHERE tenant_id = $1 AND user_id = $2 AND purpose = $3 AND id <> $4",
        params![user, purpose, id],
    )
    .await?;
    tx.execute(
        "INSERT INTO one_time_tokens (tenant_id, id, user_id, purpose, secret_hash, expires_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant_id, id) DO UPDATE SET secret_hash = excluded.secret_hash",
        params![id, user, purpose, secret_hash, expires_at, now],
    )
    .await?;
    Ok(())
}

/// Use a token up; whose it was, if it was good.
pub async fn take(
    tx: &mut TenantTx,
    id: Uuid,
    purpose: &str,
    secret_hash: &str,
    now: Timestamp,
) -> Result<Option<UserId>> {
    let row: Option<(Uuid,)> = tx
        .fetch_optional(
            "UPDATE one_time_tokens SET used_at = $5
             WHERE tenant_id = $1 AND id = $2 AND purpose = $3 AND secret_hash = $4 AND expires_at > $5 AND used_at IS NULL
             RETURNING user_id",
            params![id, purpose, secret_hash, now],
        )
        .await?;
    Ok(row.map(|(user,)| UserId(user)))
}

/// End every token of a user.
pub async fn delete_of_user(tx: &mut TenantTx, user: UserId) -> Result<u64> {
    tx.execute("DELETE FROM one_time_tokens WHERE tenant_id = $1 AND user_id = $2", params![user]).await
}

/// Whether a token could be [taken](take) now.
pub async fn is_good(tx: &mut TenantTx, id: Uuid, purpose: &str, secret_hash: &str, now: Timestamp) -> Result<bool> {
    let row: Option<(Uuid,)> = tx
        .fetch_optional(
            "SELECT user_id FROM one_time_tokens
             WHERE tenant_id = $1 AND id = $2 AND purpose = $3 AND secret_hash = $4 AND expires_at > $5 AND used_at IS NULL",
            params![id, purpose, secret_hash, now],
        )
        .await?;
    Ok(row.is_some())
}

/// Forget tokens that ended before this.
pub async fn delete_expired(tx: &mut PlatformTx, cutoff: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM one_time_tokens WHERE expires_at < $1", params![cutoff]).await
}
