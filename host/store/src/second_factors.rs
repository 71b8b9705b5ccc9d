//! Second factors: a sealed TOTP secret, and recovery codes as digests.

use purlin_domain::{Timestamp, id::UserId};
use sqlx::FromRow;

use crate::{Result, TenantTx, value::params};

/// A second factor.
#[derive(Clone, Debug, FromRow)]
pub struct SecondFactor {
    /// The secret, sealed.
    pub secret: Vec<u8>,
    /// When its owner showed the first code; it does not count before.
    pub confirmed_at: Option<Timestamp>,
    /// The last time step whose code was used; none is used twice.
    pub last_step: i64,
}

/// A user's second factor.
pub async fn of_user(tx: &mut TenantTx, user: UserId) -> Result<Option<SecondFactor>> {
    tx.fetch_optional(
        "SELECT secret, confirmed_at, last_step FROM second_factors WHERE tenant_id = $1 AND user_id = $2",
        params![user],
    )
    .await
}

/// Begin to enrol: a secret that is to be confirmed. Replaces one that was not.
pub async fn enrol(tx: &mut TenantTx, user: UserId, secret: Vec<u8>, now: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "INSERT INTO second_factors (tenant_id, user_id, secret, last_step, created_at) VALUES ($1, $2, $3, 0, $4)
             ON CONFLICT (tenant_id, user_id) DO UPDATE SET secret = excluded.secret, last_step = 0, created_at = excluded.created_at
             WHERE second_factors.confirmed_at IS NULL",
            params![user, secret, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Confirm this secret, with the recovery codes that go with it.
pub async fn confirm(
    tx: &mut TenantTx,
    user: UserId,
    secret: &[u8],
    step: i64,
    code_hashes: &[String],
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE second_factors SET confirmed_at = $3, last_step = $4
             WHERE tenant_id = $1 AND user_id = $2 AND confirmed_at IS NULL AND secret = $5",
            params![user, now, step, secret.to_vec()],
        )
        .await?;
    if changed == 0 {
        return Ok(false);
    }
    let rows = code_hashes.iter().map(|hash| params![user, hash, now]).collect();
    tx.insert_many("recovery_codes", &["user_id", "code_hash", "created_at"], rows).await?;
    Ok(true)
}

/// Use the code of a time step; whether no code of it or a later one was used before.
pub async fn use_step(tx: &mut TenantTx, user: UserId, step: i64) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE second_factors SET last_step = $3 WHERE tenant_id = $1 AND user_id = $2 AND last_step < $3",
            params![user, step],
        )
        .await?;
    Ok(changed == 1)
}

/// Use a recovery code up; whether there was one.
pub async fn use_recovery_code(tx: &mut TenantTx, user: UserId, code_hash: &str) -> Result<bool> {
    let changed = tx
        .execute(
            "DELETE FROM recovery_codes WHERE tenant_id = $1 AND user_id = $2 AND code_hash = $3",
            params![user, code_hash],
        )
        .await?;
    Ok(changed == 1)
}

/// Do without; whether there was one.
pub async fn delete(tx: &mut TenantTx, user: UserId) -> Result<bool> {
    Ok(tx.execute("DELETE FROM second_factors WHERE tenant_id = $1 AND user_id = $2", params![user]).await? == 1)
}
