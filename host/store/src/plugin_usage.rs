//! What plugins used, by the hour, and their latest invocations one by one.

use purlin_domain::{
    Json, Timestamp,
    filter::{Field, FieldType},
};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh,
    value::{Bind, params},
};

/// What a plugin used within an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow, JsonSchema)]
pub struct HourOfUse {
    /// When the hour began.
    pub hour: Timestamp,
    /// Invocations that ended.
    pub invocations: i64,
    /// Those of them that failed or were ended by the host.
    pub failures: i64,
    /// Wall-clock time of all, in microseconds.
    pub wall_us: i64,
    /// CPU time of all, in microseconds.
    pub cpu_us: i64,
    /// Calls to the host.
    pub host_calls: i64,
    /// Requests sent.
    pub fetches: i64,
    /// Bytes of records and files written.
    pub write_bytes: i64,
}

/// One invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow, JsonSchema)]
pub struct Invocation {
    /// Its id.
    pub id: Uuid,
    /// The version that ran.
    pub version: String,
    /// What was called: `event`, `job`, `route`, `check` or `step`.
    pub trigger: String,
    /// About what: an event type, a job kind, a route, a collection, a step.
    pub subject: String,
    /// `ok`, `failed` by the plugin's own word, `limit`, `trap`, or `unavailable` when the
    /// platform could not do its part.
    pub outcome: String,
    /// The limit that ended it.
    pub limit_met: Option<String>,
    /// Wall-clock time in microseconds.
    pub wall_us: i64,
    /// CPU time in microseconds.
    pub cpu_us: i64,
    /// Bytes of memory at its end.
    pub memory_bytes: i64,
    /// Calls to the host.
    pub host_calls: i64,
    /// Effects it gathered; kept where the outcome is `ok`.
    pub effects: i64,
    /// The job or delivery.
    pub job_id: Option<Uuid>,
    /// The trace it belongs to: that of the request, event or schedule that began the chain.
    pub trace_id: Option<String>,
    /// When it ended.
    pub created_at: Timestamp,
}

impl Weigh for Invocation {
    fn bytes(&self) -> usize {
        self.subject.len()
    }
}

/// Add to what plugins used. Each entry has `t` (tenant), `p` (plugin), `h` (the hour) and the
/// numbers of [`HourOfUse`] by their names.
pub async fn add(tx: &mut PlatformTx, entries: Json, now: Timestamp) -> Result<()> {
    macro_rules! add {
        ($rows:literal) => {
            concat!(
                "INSERT INTO plugin_usage (tenant_id, plugin, hour, invocations, failures, wall_us, cpu_us, host_calls, fetches,
                    write_bytes, created_at, updated_at) ",
                $rows,
                " ON CONFLICT (tenant_id, plugin, hour) DO UPDATE SET invocations = plugin_usage.invocations + excluded.invocations,
                    failures = plugin_usage.failures + excluded.failures, wall_us = plugin_usage.wall_us + excluded.wall_us,
                    cpu_us = plugin_usage.cpu_us + excluded.cpu_us, host_calls = plugin_usage.host_calls + excluded.host_calls,
                    fetches = plugin_usage.fetches + excluded.fetches, write_bytes = plugin_usage.write_bytes + excluded.write_bytes,
                    updated_at = excluded.updated_at"
            )
        };
    }
    let sql = if tx.conn.is_postgres() {
        add!(
            "SELECT t, p, h, invocations, failures, wall_us, cpu_us, host_calls, fetches, write_bytes, $2, $2
             FROM jsonb_to_recordset($1) AS r(t uuid, p text, h timestamptz, invocations bigint, failures bigint, wall_us bigint,
                cpu_us bigint, host_calls bigint, fetches bigint, write_bytes bigint) ORDER BY t, p, h"
        )
    } else {
        add!(
            "SELECT unhex(value->>'t'), value->>'p', value->>'h', value->>'invocations', value->>'failures', value->>'wall_us',
                value->>'cpu_us', value->>'host_calls', value->>'fetches', value->>'write_bytes', $2, $2
             FROM json_each($1) WHERE true"
        )
    };
    tx.execute(sql, params![entries, now]).await?;
    Ok(())
}

/// Add invocations. Each entry has `t` (tenant), `i` (its id), `p` (plugin), `j` (the job) and
/// the rest of [`Invocation`] by its names.
pub async fn add_invocations(tx: &mut PlatformTx, entries: Json) -> Result<()> {
    macro_rules! add {
        ($rows:literal) => {
            concat!(
                "INSERT INTO plugin_invocations (tenant_id, id, plugin, version, trigger, subject, outcome, limit_met, wall_us, cpu_us,
                    memory_bytes, host_calls, effects, job_id, trace_id, created_at) ",
                $rows
            )
        };
    }
    let sql = if tx.conn.is_postgres() {
        add!(
            "SELECT t, i, p, version, trigger, subject, outcome, limit_met, wall_us, cpu_us, memory_bytes, host_calls, effects, j,
                trace_id, created_at
             FROM jsonb_to_recordset($1) AS r(t uuid, i uuid, p text, version text, trigger text, subject text, outcome text,
                limit_met text, wall_us bigint, cpu_us bigint, memory_bytes bigint, host_calls bigint, effects bigint, j uuid,
                trace_id text, created_at timestamptz)"
        )
    } else {
        add!(
            "SELECT unhex(value->>'t'), unhex(value->>'i'), value->>'p', value->>'version', value->>'trigger', value->>'subject',
                value->>'outcome', value->>'limit_met', value->>'wall_us', value->>'cpu_us', value->>'memory_bytes',
                value->>'host_calls', value->>'effects', unhex(value->>'j'), value->>'trace_id', value->>'created_at'
             FROM json_each($1)"
        )
    };
    tx.execute(sql, params![entries]).await?;
    Ok(())
}

/// What a plugin used since, the latest hour first; 1,000 hours at most.
pub async fn of_plugin(tx: &mut TenantTx, plugin: &str, since: Timestamp) -> Result<Vec<HourOfUse>> {
    tx.fetch_all(
        "SELECT hour, invocations, failures, wall_us, cpu_us, host_calls, fetches, write_bytes FROM plugin_usage
         WHERE tenant_id = $1 AND plugin = $2 AND hour >= $3 ORDER BY hour DESC LIMIT 1000",
        params![plugin, since],
    )
    .await
}

/// CPU time of all plugins of the tenant since, in microseconds.
pub async fn cpu_us(tx: &mut TenantTx, since: Timestamp) -> Result<i64> {
    let (sum,): (i64,) = tx
        .fetch_one(
            "SELECT CAST(coalesce(sum(cpu_us), 0) AS bigint) FROM plugin_usage WHERE tenant_id = $1 AND hour >= $2",
            params![since],
        )
        .await?;
    Ok(sum)
}

/// What invocations can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    let filter_only = |name: &str, field_type| Field { sortable: false, ..Field::column(name, field_type) };
    vec![
        filter_only("trigger", FieldType::Text),
        filter_only("subject", FieldType::Text),
        filter_only("outcome", FieldType::Text),
        filter_only("limit_met", FieldType::Text),
        filter_only("version", FieldType::Text),
        filter_only("trace_id", FieldType::Text),
        filter_only("job_id", FieldType::Uuid),
        Field::column("created_at", FieldType::Timestamp),
        Field::column("id", FieldType::Uuid),
    ]
}

/// A page of a plugin's invocations.
pub async fn page(tx: &mut TenantTx, plugin: &str, slice: &Slice<'_>) -> Result<Page<Invocation>> {
    let columns = &[
        "id",
        "version",
        "trigger",
        "subject",
        "outcome",
        "limit_met",
        "wall_us",
        "cpu_us",
        "memory_bytes",
        "host_calls",
        "effects",
        "job_id",
        "trace_id",
        "created_at",
    ];
    tx.list(&Listing { table: "plugin_invocations", columns, scope: vec![("plugin", Some(plugin.bind()))], slice })
        .await
}

/// Forget invocations older than this, and hours older than that; how many went.
pub async fn delete_before(tx: &mut PlatformTx, invocations: Timestamp, hours: Timestamp) -> Result<u64> {
    let gone = tx.execute("DELETE FROM plugin_invocations WHERE created_at < $1", params![invocations]).await?;
    Ok(gone + tx.execute("DELETE FROM plugin_usage WHERE hour < $1", params![hours]).await?)
}
