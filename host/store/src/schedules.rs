//! Schedules: what makes jobs again and again.

use purlin_domain::{
    Timestamp,
    filter::{Field, FieldType},
    id::TenantId,
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh, value::params};

/// A schedule: a kind of job that is enqueued again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow, JsonSchema)]
pub struct Schedule {
    /// Its id.
    pub id: Uuid,
    /// The plugin whose job it is.
    pub plugin: String,
    /// The kind of job.
    pub kind: String,
    /// When, as five fields of cron: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The time zone of that, by its IANA name.
    pub time_zone: String,
    /// What happens when no host was there to enqueue it: `once`, as soon as one is, or `skip`.
    pub missed: String,
    /// Whether it makes no jobs for now.
    pub is_paused: bool,
    /// When it makes the next one.
    pub next_at: Option<Timestamp>,
    /// When it made the last one.
    pub last_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Weigh for Schedule {
    fn bytes(&self) -> usize {
        0
    }
}

/// A schedule whose time has come.
#[derive(Clone, Debug, FromRow)]
pub struct Due {
    /// Its tenant.
    #[sqlx(try_from = "Uuid")]
    pub tenant_id: TenantId,
    /// Whether it may make a job: the tenant is served, and the plugin enabled.
    pub is_runnable: bool,
    /// The schedule.
    #[sqlx(flatten)]
    pub schedule: Schedule,
}

const COLUMNS: &[&str] = &[
    "id",
    "plugin",
    "kind",
    "cron",
    "time_zone",
    "missed",
    "is_paused",
    "next_at",
    "last_at",
    "created_at",
    "updated_at",
];

/// Make a schedule, or change that of the same kind; one that is paused stays so.
pub async fn upsert(tx: &mut TenantTx, schedule: &Schedule) -> Result<()> {
    tx.execute(
        "INSERT INTO schedules (tenant_id, id, plugin, kind, cron, time_zone, missed, is_paused, next_at, last_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (tenant_id, plugin, kind) DO UPDATE SET cron = excluded.cron, time_zone = excluded.time_zone,
            missed = excluded.missed, next_at = excluded.next_at, updated_at = excluded.updated_at",
        params![
            schedule.id,
            &schedule.plugin,
            &schedule.kind,
            &schedule.cron,
            &schedule.time_zone,
            &schedule.missed,
            schedule.is_paused,
            schedule.next_at,
            schedule.last_at,
            schedule.created_at,
            schedule.updated_at
        ],
    )
    .await?;
    Ok(())
}

/// The schedules of a plugin.
pub async fn of_plugin(tx: &mut TenantTx, plugin: &str) -> Result<Vec<Schedule>> {
    tx.fetch_all(
        "SELECT id, plugin, kind, cron, time_zone, missed, is_paused, next_at, last_at, created_at, updated_at
         FROM schedules WHERE tenant_id = $1 AND plugin = $2 ORDER BY kind",
        params![plugin],
    )
    .await
}

/// The schedule of this id.
pub async fn by_id(tx: &mut TenantTx, id: Uuid) -> Result<Option<Schedule>> {
    tx.fetch_optional(
        "SELECT id, plugin, kind, cron, time_zone, missed, is_paused, next_at, last_at, created_at, updated_at
         FROM schedules WHERE tenant_id = $1 AND id = $2",
        params![id],
    )
    .await
}

/// The same, held so until the transaction ends.
pub async fn hold(tx: &mut TenantTx, id: Uuid) -> Result<Option<Schedule>> {
    if tx.conn.is_postgres() {
        tx.execute("SELECT 1 FROM schedules WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE", params![id]).await?;
    }
    // In SQLite the writer is alone.
    by_id(tx, id).await
}

/// Pause a schedule, or let it go on from `next_at`, unless it changed since `read_at`.
pub async fn set_paused(
    tx: &mut TenantTx,
    id: Uuid,
    is_paused: bool,
    next_at: Option<Timestamp>,
    now: Timestamp,
    read_at: Timestamp,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE schedules SET is_paused = $3, next_at = $4, updated_at = $5
             WHERE tenant_id = $1 AND id = $2 AND updated_at = $6",
            params![id, is_paused, next_at, now, read_at],
        )
        .await?;
    Ok(changed == 1)
}

/// Remove the schedule of this kind.
pub async fn delete(tx: &mut TenantTx, plugin: &str, kind: &str) -> Result<bool> {
    let gone = tx
        .execute("DELETE FROM schedules WHERE tenant_id = $1 AND plugin = $2 AND kind = $3", params![plugin, kind])
        .await?;
    Ok(gone == 1)
}

/// Remove the schedules of a plugin.
pub async fn delete_all(tx: &mut TenantTx, plugin: &str) -> Result<()> {
    tx.execute("DELETE FROM schedules WHERE tenant_id = $1 AND plugin = $2", params![plugin]).await?;
    Ok(())
}

/// What schedules can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    let filter_only = |name: &str, field_type| Field { sortable: false, ..Field::column(name, field_type) };
    vec![
        filter_only("plugin", FieldType::Text),
        filter_only("kind", FieldType::Text),
        filter_only("is_paused", FieldType::Boolean),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of schedules.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<Schedule>> {
    tx.list(&Listing { table: "schedules", columns: COLUMNS, scope: Vec::new(), slice }).await
}

/// Schedules whose time has come, the most overdue first; also those of tenants that are not served,
/// and of plugins that are not enabled.
pub async fn due(tx: &mut PlatformTx, now: Timestamp, most: u32) -> Result<Vec<Due>> {
    tx.fetch_all(
        "SELECT s.tenant_id, s.id, s.plugin, s.kind, s.cron, s.time_zone, s.missed, s.is_paused, s.next_at, s.last_at,
            s.created_at, s.updated_at,
            t.status = 'active' AND (s.plugin = 'core' OR EXISTS (SELECT 1 FROM installations i
                WHERE i.tenant_id = s.tenant_id AND i.plugin = s.plugin AND i.state = 'enabled')) AS is_runnable
         FROM schedules s JOIN tenants t ON t.id = s.tenant_id
         WHERE s.next_at <= $1 AND NOT s.is_paused
            AND NOT EXISTS (SELECT 1 FROM installations p
                WHERE p.tenant_id = s.tenant_id AND p.plugin = s.plugin AND p.state = 'paused')
         ORDER BY s.next_at LIMIT $2",
        params![now, most],
    )
    .await
}

/// Move a schedule on to its next time, if nobody else did; whether this did.
pub async fn advance(
    tx: &mut TenantTx,
    id: Uuid,
    from: Timestamp,
    next_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE schedules SET next_at = $4, last_at = coalesce($5, last_at) WHERE tenant_id = $1 AND id = $2 AND next_at = $3",
            params![id, from, next_at, last_at],
        )
        .await?;
    Ok(changed == 1)
}
