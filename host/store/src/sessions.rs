//! Sessions: one for each sign-in, the family of its refresh tokens.

use purlin_domain::{
    Timestamp,
    filter::{Field, FieldType},
    id::{SessionId, UserId},
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh, value::Bind, value::params};

/// A sign-in.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct Session {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: SessionId,
    /// Whose it is.
    #[sqlx(try_from = "Uuid")]
    pub user_id: UserId,
    /// How often its refresh token was exchanged for a new one.
    pub generation: i64,
    /// When that happened last.
    pub rotated_at: Timestamp,
    /// When it ends unless it is refreshed.
    pub expires_at: Timestamp,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
    /// The address it began from.
    pub ip: Option<String>,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// When the password was last given in it.
    pub proven_at: Option<Timestamp>,
    /// When it began.
    pub created_at: Timestamp,
}

impl Weigh for Session {
    fn bytes(&self) -> usize {
        self.user_agent.as_ref().map_or(0, String::len)
    }
}

const COLUMNS: &[&str] = &[
    "id",
    "user_id",
    "generation",
    "rotated_at",
    "expires_at",
    "revoked_at",
    "ip",
    "user_agent",
    "proven_at",
    "created_at",
];

/// Add a session.
pub async fn insert(tx: &mut TenantTx, session: &Session) -> Result<()> {
    let row = params![
        session.id,
        session.user_id,
        session.generation,
        session.rotated_at,
        session.expires_at,
        session.revoked_at,
        session.ip.clone(),
        session.user_agent.clone(),
        session.proven_at,
        session.created_at
    ];
    tx.insert_many("sessions", COLUMNS, vec![row]).await
}

macro_rules! by_id {
    ($lock:literal) => {
        concat!(
            "SELECT id, user_id, generation, rotated_at, expires_at, revoked_at, ip, user_agent, proven_at, created_at
             FROM sessions WHERE tenant_id = $1 AND id = $2",
            $lock
        )
    };
}

/// The session of this id, held so until the transaction ends.
pub async fn hold(tx: &mut TenantTx, id: SessionId) -> Result<Option<Session>> {
    let sql = if tx.conn.is_postgres() {
        by_id!(" FOR UPDATE")
    } else {
        // The writer is alone.
        by_id!("")
    };
    tx.fetch_optional(sql, params![id]).await
}

/// The password was given in a session.
pub async fn set_proven(tx: &mut TenantTx, id: SessionId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE sessions SET proven_at = $3 WHERE tenant_id = $1 AND id = $2", params![id, now]).await?;
    Ok(())
}

/// When the password was last given in a session.
pub async fn proven_at(tx: &mut TenantTx, id: SessionId) -> Result<Option<Timestamp>> {
    let row: Option<(Option<Timestamp>,)> =
        tx.fetch_optional("SELECT proven_at FROM sessions WHERE tenant_id = $1 AND id = $2", params![id]).await?;
    Ok(row.and_then(|(at,)| at))
}

/// A refresh token was exchanged.
pub async fn rotate(
    tx: &mut TenantTx,
    id: SessionId,
    generation: i64,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    tx.execute(
        "UPDATE sessions SET generation = $3, rotated_at = $4, expires_at = $5 WHERE tenant_id = $1 AND id = $2",
        params![id, generation, now, expires_at],
    )
    .await?;
    Ok(())
}

/// End one; whether it was still open.
pub async fn revoke(tx: &mut TenantTx, id: SessionId, user: UserId, now: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE sessions SET revoked_at = $4 WHERE tenant_id = $1 AND id = $2 AND user_id = $3 AND revoked_at IS NULL",
            params![id, user, now],
        )
        .await?;
    Ok(changed == 1)
}

/// End every session of a user but this one; how many were open.
pub async fn revoke_others(tx: &mut TenantTx, user: UserId, but: Option<SessionId>, now: Timestamp) -> Result<u64> {
    tx.execute(
        "UPDATE sessions SET revoked_at = $4 WHERE tenant_id = $1 AND user_id = $2 AND id <> $3 AND revoked_at IS NULL",
        params![user, but.unwrap_or(SessionId(Uuid::nil())), now],
    )
    .await
}

/// Forget where a user's sessions came from.
pub async fn delete_of_user(tx: &mut TenantTx, user: UserId) -> Result<u64> {
    tx.execute("DELETE FROM sessions WHERE tenant_id = $1 AND user_id = $2", params![user]).await
}

/// What sessions can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    vec![
        Field::column("expires_at", FieldType::Timestamp),
        Field::column("rotated_at", FieldType::Timestamp),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of a user's open sessions.
pub async fn list(tx: &mut TenantTx, user: UserId, slice: &Slice<'_>) -> Result<Page<Session>> {
    let scope = vec![("user_id", Some(user.bind())), ("revoked_at", None)];
    tx.list(&Listing { table: "sessions", columns: COLUMNS, scope, slice }).await
}

/// Forget sessions that ended before this.
pub async fn delete_expired(tx: &mut PlatformTx, cutoff: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM sessions WHERE expires_at < $1", params![cutoff]).await
}
