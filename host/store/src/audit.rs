//! The audit log: rows are only ever added.

use purlin_domain::{
    Json, Timestamp,
    audit::AuditEntry,
    filter::{Field, FieldType, Filter, Op, Operand},
    id::TenantId,
    principal::{Actor, Principal},
};
use schemars::JsonSchema;
use sea_query::Value;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, PlatformTx, Result, Slice, TenantTx, Weigh, usage::row_bytes, value::params};

/// A row of the audit log.
#[derive(Clone, Debug, Serialize, FromRow, JsonSchema)]
pub struct AuditRow {
    /// Its id.
    pub id: Uuid,
    /// `user`, `api_key`, `plugin` or `system`.
    pub actor_kind: String,
    /// The id of the user or the API key, or the plugin's name.
    pub actor: String,
    /// The user behind a key or a plugin.
    pub on_behalf_of: Option<Uuid>,
    /// What was done.
    pub action: String,
    /// To what kind of thing.
    pub resource_type: String,
    /// To which one.
    pub resource_id: Option<String>,
    /// What changed.
    #[sqlx(try_from = "crate::document::Document")]
    pub changes: Json,
    /// The client's address.
    pub ip: Option<String>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// The request, or the job.
    pub request_id: String,
    /// When.
    pub created_at: Timestamp,
}

impl Weigh for AuditRow {
    fn bytes(&self) -> usize {
        self.changes.to_string().len()
    }
}

const COLUMNS: &[&str] = &[
    "id",
    "actor_kind",
    "actor",
    "on_behalf_of",
    "action",
    "resource_type",
    "resource_id",
    "changes",
    "ip",
    "user_agent",
    "request_id",
    "created_at",
];

/// What was done by whom, as a row about to be written. Nothing changes one afterwards.
pub fn row(principal: &Principal, id: Uuid, entry: AuditEntry, now: Timestamp) -> AuditRow {
    let origin = &principal.origin;
    // A user acts for oneself; a key or a plugin acts for somebody.
    let on_behalf_of = principal.on_behalf_of.filter(|user| principal.actor != Actor::User(*user));
    AuditRow {
        id,
        actor_kind: principal.actor.kind().to_owned(),
        actor: principal.actor.name(),
        on_behalf_of: on_behalf_of.map(|user| user.0),
        action: entry.action,
        resource_type: entry.resource_type,
        resource_id: entry.resource_id,
        changes: entry.changes,
        ip: origin.ip.map(|ip| ip.to_string()),
        user_agent: origin.user_agent.clone(),
        request_id: origin.request_id.clone(),
        created_at: now,
    }
}

/// A row and its MAC, in the order of the columns.
fn values(row: &AuditRow, mac: &str) -> Vec<Value> {
    params![
        row.id,
        &row.actor_kind,
        &row.actor,
        row.on_behalf_of,
        &row.action,
        &row.resource_type,
        row.resource_id.clone(),
        &row.changes,
        row.ip.clone(),
        row.user_agent.clone(),
        &row.request_id,
        row.created_at,
        mac
    ]
}

/// Add rows, each with its MAC, in the transaction that they tell of.
pub async fn append(tx: &mut TenantTx, rows: &[(AuditRow, String)]) -> Result<()> {
    let columns: Vec<&'static str> = COLUMNS.iter().copied().chain(["mac"]).collect();
    tx.stored.audit += rows.iter().map(|(row, _)| row_bytes(&row.changes)).sum::<i64>();
    tx.insert_later("audit_log", &columns, rows.iter().map(|(row, mac)| values(row, mac)).collect()).await
}

/// Add a row to the log of the tenant that whoever runs the platform belongs to, in a
/// transaction of the platform.
pub async fn append_platform(tx: &mut PlatformTx, tenant: TenantId, row: &AuditRow, mac: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO audit_log (tenant_id, id, actor_kind, actor, on_behalf_of, action, resource_type, resource_id, changes,
            ip, user_agent, request_id, created_at, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        params![tenant].into_iter().chain(values(row, mac)).collect(),
    )
    .await?;
    Ok(())
}

/// What the audit log can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    let text = ["actor", "action", "resource_type", "resource_id", "ip", "request_id"];
    let key = |name: &&str| Field { sortable: false, ..Field::column(name, FieldType::Text).key() };
    let mut fields: Vec<Field> = text.iter().map(key).collect();
    fields.push(Field { sortable: false, ..Field::listed("actor_kind", ["user", "api_key", "plugin", "system"]) });
    fields.push(Field { sortable: false, ..Field::column("on_behalf_of", FieldType::Uuid) });
    fields.push(Field::column("created_at", FieldType::Timestamp));
    fields.push(Field::column("id", FieldType::Uuid));
    fields
}

/// A page of the audit log.
pub async fn list(tx: &mut TenantTx, slice: &Slice<'_>) -> Result<Page<AuditRow>> {
    tx.list(&Listing { table: "audit_log", columns: COLUMNS, scope: Vec::new(), slice }).await
}

/// One row.
pub async fn by_id(tx: &mut TenantTx, id: Uuid) -> Result<Option<AuditRow>> {
    let id_field = Field::column("id", FieldType::Uuid);
    let filter = Filter::Is(id_field, Op::Eq, vec![Operand::Uuid(id)]);
    let page = list(tx, &Slice::first(&filter, &[], 1)).await?;
    Ok(page.rows.into_iter().next())
}
