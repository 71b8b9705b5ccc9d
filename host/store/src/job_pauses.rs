//! What is not to run for now.

use purlin_domain::{Timestamp, id::UserId};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;

use crate::{PlatformTx, Result, TenantTx, value::params};

/// Stands for every queue, or every kind.
pub const EVERY: &str = "*";

/// Jobs that are not to run for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow, JsonSchema)]
pub struct JobPause {
    /// Of this queue; `*` for every one.
    pub queue: String,
    /// Of this kind; `*` for every one.
    pub kind: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// Pause jobs of the tenant; whether they were not paused before.
pub async fn insert(tx: &mut TenantTx, pause: &JobPause, by: Option<UserId>) -> Result<bool> {
    let added = tx
        .execute(
            "INSERT INTO job_pauses (tenant_id, queue, kind, reason, created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT DO NOTHING",
            params![&pause.queue, &pause.kind, &pause.reason, pause.created_at, by],
        )
        .await?;
    Ok(added == 1)
}

/// Let jobs of the tenant run again; whether they were paused.
pub async fn delete(tx: &mut TenantTx, queue: &str, kind: &str) -> Result<bool> {
    let gone = tx
        .execute("DELETE FROM job_pauses WHERE tenant_id = $1 AND queue = $2 AND kind = $3", params![queue, kind])
        .await?;
    Ok(gone == 1)
}

/// What is paused in the tenant.
pub async fn list(tx: &mut TenantTx) -> Result<Vec<JobPause>> {
    tx.fetch_all(
        "SELECT queue, kind, reason, created_at FROM job_pauses WHERE tenant_id = $1 ORDER BY queue, kind",
        params![],
    )
    .await
}

/// Pause jobs of every tenant; whether they were not paused before.
pub async fn insert_platform(tx: &mut PlatformTx, pause: &JobPause) -> Result<bool> {
    let added = tx
        .execute(
            "INSERT INTO platform_job_pauses (queue, kind, reason, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            params![&pause.queue, &pause.kind, &pause.reason, pause.created_at],
        )
        .await?;
    Ok(added == 1)
}

/// Let jobs of every tenant run again; whether they were paused.
pub async fn delete_platform(tx: &mut PlatformTx, queue: &str, kind: &str) -> Result<bool> {
    let gone =
        tx.execute("DELETE FROM platform_job_pauses WHERE queue = $1 AND kind = $2", params![queue, kind]).await?;
    Ok(gone == 1)
}

/// What is paused for every tenant.
pub async fn list_platform(tx: &mut PlatformTx) -> Result<Vec<JobPause>> {
    tx.fetch_all("SELECT queue, kind, reason, created_at FROM platform_job_pauses ORDER BY queue, kind", Vec::new())
        .await
}
