//! The audit log: rows are only ever added.

use purlin_domain::{
    Json, Timestamp,
    audit::AuditEntry,
    filter::{Field, FieldType, Filter, Op, Operand},
    id::UserId,
    principal::Principal,
    sort::SortKey,
};
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Listing, Page, PlatformTx, Result, TenantTx, Weigh, value::params};

/// A row of the audit log.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct AuditRow {
    /// Its id.
    pub id: Uuid,
    /// `user`, `plugin` or `system`.
    pub actor_kind: String,
    /// The user's id or the plugin's name.
    pub actor: String,
    /// The user whose request led to it.
    pub on_behalf_of: Option<Uuid>,
    /// What was done.
    pub action: String,
    /// To what kind of thing.
    pub resource_type: String,
    /// To which one.
    pub resource_id: Option<String>,
    /// What changed.
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

/// Write what this principal did, in the transaction that does it.
pub async fn append(
    tx: &mut TenantTx,
    principal: &Principal,
    entries: &[(Uuid, AuditEntry)],
    now: Timestamp,
) -> Result<()> {
    let origin = &principal.origin;
    let rows = entries.iter().map(|(id, entry)| {
        params![
            *id,
            principal.actor.kind(),
            principal.actor.name(),
            on_behalf_of(principal),
            &entry.action,
            &entry.resource_type,
            entry.resource_id.clone(),
            &entry.changes,
            origin.ip.map(|ip| ip.to_string()),
            origin.user_agent.clone(),
            &origin.request_id,
            now
        ]
    });
    tx.insert_many("audit_log", COLUMNS, rows.collect()).await
}

/// Write what an operator did to the platform, into the log of the operator's own tenant.
pub async fn append_platform(
    tx: &mut PlatformTx,
    principal: &Principal,
    id: Uuid,
    entry: &AuditEntry,
    now: Timestamp,
) -> Result<()> {
    let origin = &principal.origin;
    tx.execute(
        "INSERT INTO audit_log (tenant_id, id, actor_kind, actor, action, resource_type, resource_id, changes, ip, user_agent, request_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        params![
            principal.tenant, id, principal.actor.kind(), principal.actor.name(), &entry.action, &entry.resource_type,
            entry.resource_id.clone(), &entry.changes, origin.ip.map(|ip| ip.to_string()), origin.user_agent.clone(),
            &origin.request_id, now
        ],
    )
    .await?;
    Ok(())
}

fn on_behalf_of(principal: &Principal) -> Option<UserId> {
    principal.on_behalf_of.filter(|user| principal.actor.user() != Some(*user))
}

/// What the audit log can be filtered and sorted by.
pub fn fields() -> Vec<Field> {
    let text = ["actor_kind", "actor", "action", "resource_type", "resource_id", "request_id"];
    let mut fields: Vec<Field> =
        text.iter().map(|name| Field { sortable: false, ..Field::column(name, FieldType::Text) }).collect();
    fields.push(Field::column("created_at", FieldType::Timestamp));
    fields.push(Field::column("id", FieldType::Uuid));
    fields
}

/// A page of the audit log.
pub async fn list(
    tx: &mut TenantTx,
    filter: &Filter,
    sort: &[SortKey],
    after: Option<&[Option<Operand>]>,
    size: u32,
) -> Result<Page<AuditRow>> {
    tx.list(&Listing { table: "audit_log", columns: COLUMNS, scope: Vec::new(), filter, sort, after, size }).await
}

/// One row.
pub async fn by_id(tx: &mut TenantTx, id: Uuid) -> Result<Option<AuditRow>> {
    let id_field = Field::column("id", FieldType::Uuid);
    let filter = Filter::Is(id_field, Op::Eq, vec![Operand::Uuid(id)]);
    let page = list(tx, &filter, &[], None, 1).await?;
    Ok(page.rows.into_iter().next())
}
