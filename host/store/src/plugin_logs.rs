//! What plugins wrote to their logs, and what the host wrote there about them.

use purlin_domain::{
    Json, Timestamp,
    filter::{Field, FieldType},
    id::JobId,
    log::LogLine,
    text::folded_copies,
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh,
    usage::row_bytes,
    value::{Bind, params},
};

/// A line of a plugin's log.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct PluginLog {
    /// Its id.
    pub id: Uuid,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The text.
    pub message: String,
    /// Structured fields.
    #[sqlx(try_from = "crate::document::Document")]
    pub fields: Json,
    /// The job or delivery that was running.
    pub job_id: Option<Uuid>,
    /// When it was written.
    pub created_at: Timestamp,
}

impl Weigh for PluginLog {
    fn bytes(&self) -> usize {
        self.message.len() + self.fields.to_string().len()
    }
}

/// Add lines.
pub async fn insert(tx: &mut TenantTx, plugin: &str, job: Option<JobId>, lines: &[(Uuid, LogLine)]) -> Result<()> {
    let bytes = |line: &LogLine| row_bytes(&line.fields) + i64::try_from(line.message.len()).unwrap_or(i64::MAX);
    tx.stored.logs += lines.iter().map(|(_, line)| bytes(line)).sum::<i64>();
    let rows = lines.iter().map(|(id, line)| {
        let folded = folded_copies([("message", line.message.as_str())]);
        params![*id, plugin, line.level.as_str(), &line.message, folded, &line.fields, job, line.time]
    });
    let columns = ["id", "plugin", "level", "message", "folded", "fields", "job_id", "created_at"];
    tx.insert_many("plugin_logs", &columns, rows.collect()).await
}

/// What a log can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    vec![
        Field { sortable: false, ..Field::listed("level", ["debug", "info", "warn", "error"]) },
        Field { sortable: false, ..Field::column("message", FieldType::Text).folded() },
        Field { sortable: false, ..Field::column("job_id", FieldType::Uuid) },
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of a plugin's log.
pub async fn list(tx: &mut TenantTx, plugin: &str, slice: &Slice<'_>) -> Result<Page<PluginLog>> {
    let columns = &["id", "level", "message", "fields", "job_id", "created_at"];
    tx.list(&Listing { table: "plugin_logs", columns, scope: vec![("plugin", Some(plugin.bind()))], slice }).await
}

/// Forget lines older than this; how many went.
pub async fn delete_before(tx: &mut PlatformTx, cutoff: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM plugin_logs WHERE created_at < $1", params![cutoff]).await
}
