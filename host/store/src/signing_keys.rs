//! The keys that sign access tokens.

use purlin_domain::{Json, Timestamp};
use sqlx::FromRow;

use crate::{PlatformTx, Result, value::params};

/// A key pair.
#[derive(Clone, Debug, FromRow)]
pub struct SigningKey {
    /// The `kid`.
    pub id: String,
    /// The public half, as a JWK.
    pub public_key: Json,
    /// The private half, sealed; gone once retired.
    pub private_key: Option<Vec<u8>>,
    /// Under the master key: a row that somebody else wrote is none of ours.
    pub mac: String,
    /// When it begins to sign.
    pub signs_from: Timestamp,
    /// When it was retired: tokens that it signed are refused from then on.
    pub retired_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Every key, the one that signs last first.
pub async fn all(tx: &mut PlatformTx) -> Result<Vec<SigningKey>> {
    tx.fetch_all(
        "SELECT id, public_key, private_key, mac, signs_from, retired_at, created_at FROM signing_keys
         ORDER BY signs_from DESC, id",
        Vec::new(),
    )
    .await
}

/// Add a key; whether there was none of this id.
pub async fn insert(tx: &mut PlatformTx, key: &SigningKey) -> Result<bool> {
    let changed = tx
        .execute(
            "INSERT INTO signing_keys (id, public_key, private_key, mac, signs_from, created_at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            params![&key.id, &key.public_key, key.private_key.clone(), &key.mac, key.signs_from, key.created_at],
        )
        .await?;
    Ok(changed == 1)
}

/// Bind a key to another master key.
pub async fn bind(tx: &mut PlatformTx, id: &str, private_key: Option<Vec<u8>>, mac: &str) -> Result<()> {
    tx.execute("UPDATE signing_keys SET private_key = $2, mac = $3 WHERE id = $1", params![id, private_key, mac])
        .await?;
    Ok(())
}

/// Retire a key; whether it was in use.
pub async fn retire(tx: &mut PlatformTx, id: &str, now: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE signing_keys SET retired_at = $2, private_key = NULL WHERE id = $1 AND retired_at IS NULL",
            params![id, now],
        )
        .await?;
    Ok(changed == 1)
}
