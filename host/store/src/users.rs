//! Users.

use purlin_domain::{
    Timestamp,
    id::{TenantId, UserId},
};
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{PlatformTx, Result, TenantTx, value::params};

/// A user of one tenant.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct User {
    /// The id.
    #[sqlx(try_from = "Uuid")]
    pub id: UserId,
    /// The address, in lower case; unique within the tenant.
    pub email: String,
    /// The argon2id hash of the password, in PHC form. Never leaves the host.
    #[serde(skip)]
    pub password_hash: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Whether the user may sign in.
    pub is_active: bool,
    /// Whether the address was proven.
    pub is_verified: bool,
    /// Whether the user runs the platform.
    #[serde(skip)]
    pub is_operator: bool,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the user last changed.
    pub updated_at: Timestamp,
}

/// Add a user.
pub async fn insert(tx: &mut TenantTx, user: &User, by: Option<UserId>) -> Result<()> {
    tx.execute(
        "INSERT INTO users (tenant_id, id, email, password_hash, first_name, last_name, is_active, is_verified, is_operator, created_at, updated_at, created_by, updated_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)",
        params![user.id, &user.email, &user.password_hash, user.first_name.clone(), user.last_name.clone(), user.is_active, user.is_verified, user.is_operator, user.created_at, user.updated_at, by],
    )
    .await?;
    Ok(())
}

/// The user of this id.
pub async fn by_id(tx: &mut TenantTx, id: UserId) -> Result<Option<User>> {
    tx.fetch_optional(
        "SELECT id, email, password_hash, first_name, last_name, is_active, is_verified, is_operator, created_at, updated_at
         FROM users WHERE tenant_id = $1 AND id = $2",
        params![id],
    )
    .await
}

/// The user of this address.
pub async fn by_email(tx: &mut TenantTx, email: &str) -> Result<Option<User>> {
    tx.fetch_optional(
        "SELECT id, email, password_hash, first_name, last_name, is_active, is_verified, is_operator, created_at, updated_at
         FROM users WHERE tenant_id = $1 AND email = $2",
        params![email],
    )
    .await
}

/// Change a user's names, unless the user changed since `read_at`.
pub async fn update(tx: &mut TenantTx, user: &User, read_at: Timestamp, by: Option<UserId>) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE users SET first_name = $3, last_name = $4, updated_at = $5, updated_by = $6
             WHERE tenant_id = $1 AND id = $2 AND updated_at = $7",
            params![user.id, user.first_name.clone(), user.last_name.clone(), user.updated_at, by, read_at],
        )
        .await?;
    Ok(changed == 1)
}

/// Replace a password's hash, as when its parameters grew.
pub async fn set_password_hash(tx: &mut TenantTx, id: UserId, hash: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE users SET password_hash = $3, updated_at = $4 WHERE tenant_id = $1 AND id = $2",
        params![id, hash, now],
    )
    .await?;
    Ok(())
}

/// The tenant in which this address has been known longest. A stranger who registers it
/// again elsewhere does not get in the way of its owner.
pub async fn tenant_of_email(tx: &mut PlatformTx, email: &str) -> Result<Option<TenantId>> {
    let row: Option<(Uuid,)> = tx
        .fetch_optional(
            "SELECT tenant_id FROM users WHERE email = $1 ORDER BY created_at, tenant_id LIMIT 1",
            params![email],
        )
        .await?;
    Ok(row.map(|(id,)| TenantId(id)))
}

/// Whether anybody runs the platform yet.
pub async fn operator_exists(tx: &mut PlatformTx) -> Result<bool> {
    let (count,): (i64,) = tx.fetch_one("SELECT count(*) FROM users WHERE is_operator", params![]).await?;
    Ok(count > 0)
}
