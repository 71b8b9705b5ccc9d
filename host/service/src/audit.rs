//! The audit log: written with every mutation, chained shortly after, read and verified.
//!
//! A row carries a MAC from the beginning. Its place in the tenant's hash chain is given
//! after its transaction, by whichever host holds the head of the chain: writers of a
//! tenant never wait for each other.

mod chain;
mod verify;

use purlin_domain::{
    Json, Timestamp,
    audit::{AuditEntry, canonical},
    id::TenantId,
    principal::Principal,
};
use purlin_store::{
    Db, PlatformTx, TenantTx,
    audit::{self, AuditRow},
    tenants::{self, OnPlan},
};
use uuid::Uuid;

pub use chain::{CHAIN_EVERY, chain, expire};
pub use verify::{Finding, Verification, verify};

use crate::{
    Platform, Result, ServiceError,
    list::{ListPage, ListQuery, Prepared},
    secrets::{Secrets, Use},
};

/// Write what a principal did, in the transaction that does it.
pub(crate) async fn append(
    platform: &Platform,
    tx: &mut TenantTx,
    principal: &Principal,
    entries: Vec<AuditEntry>,
    now: Timestamp,
) -> Result<()> {
    append_all(platform, tx, std::iter::once((principal, entries)), now).await
}

/// Write what several principals of one tenant did together.
pub(crate) async fn append_all<'a>(
    platform: &Platform,
    tx: &mut TenantTx,
    entries: impl Iterator<Item = (&'a Principal, Vec<AuditEntry>)>,
    now: Timestamp,
) -> Result<()> {
    let row = |principal: &Principal, entry| {
        let row = audit::row(principal, platform.clock.id(), entry, now);
        let mac = mac(platform, principal.tenant, &row);
        (row, mac)
    };
    let rows: Vec<(AuditRow, String)> =
        entries.flat_map(|(principal, entries)| entries.into_iter().map(move |entry| row(principal, entry))).collect();
    Ok(audit::append(tx, &rows).await?)
}

/// Write what whoever runs the platform did to it.
pub(crate) async fn append_platform(
    platform: &Platform,
    tx: &mut PlatformTx,
    principal: &Principal,
    entry: AuditEntry,
    now: Timestamp,
) -> Result<()> {
    let row = audit::row(principal, platform.clock.id(), entry, now);
    let mac = mac(platform, principal.tenant, &row);
    Ok(audit::append_platform(tx, principal.tenant, &row, &mac).await?)
}

/// The MAC of a row.
fn mac(platform: &Platform, tenant: TenantId, row: &AuditRow) -> String {
    macs(platform, tenant, row).swap_remove(0)
}

/// The MACs of a row that hold, the newest key's first: over everything it says, in one form.
fn macs(platform: &Platform, tenant: TenantId, row: &AuditRow) -> Vec<String> {
    let optional = |text: &Option<String>| text.as_ref().map_or_else(String::new, |text| format!("+{text}"));
    let parts = [
        tenant.to_string(),
        row.id.to_string(),
        row.actor_kind.clone(),
        row.actor.clone(),
        optional(&row.on_behalf_of.map(|id| id.to_string())),
        row.action.clone(),
        row.resource_type.clone(),
        optional(&row.resource_id),
        canonical(&row.changes).to_string(),
        optional(&row.ip),
        optional(&row.user_agent),
        row.request_id.clone(),
        row.created_at.timestamp_micros().to_string(),
    ];
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    platform.secrets.macs(Use::Audit, &parts).iter().map(hex).collect()
}

/// The MACs over the plan of a tenant that hold, the newest key's first.
fn plan_macs(secrets: &Secrets, tenant: TenantId, plan: &str) -> Vec<String> {
    secrets.macs(Use::Plan, &[tenant.0.as_bytes(), plan.as_bytes()]).iter().map(hex).collect()
}

/// Vouch for the plan that a tenant is put on: how long its log is kept hangs on it.
pub(crate) async fn vouch_for_plan(platform: &Platform, tx: &mut TenantTx, plan: &str) -> Result<()> {
    let mac = plan_macs(&platform.secrets, tx.tenant(), plan).swap_remove(0);
    Ok(tenants::set_plan_mac(tx, &mac).await?)
}

/// Vouch under the newest master key for a plan that a host vouched for under an older one.
pub(crate) async fn vouch_anew(db: &Db, secrets: &Secrets, on: &OnPlan) -> Result<()> {
    let macs = plan_macs(secrets, on.id, &on.plan);
    let (Some(newest), Some(mac)) = (macs.first(), &on.plan_mac) else { return Ok(()) };
    if mac != newest && macs.contains(mac) {
        let mut tx = db.write(on.id).await?;
        tenants::set_plan_mac(&mut tx, newest).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// The hashes of a row at this place that hold, the newest key's first: over the hash before
/// it and its own MAC.
fn hashes(platform: &Platform, tenant: TenantId, before: &str, seq: i64, mac: &str) -> Vec<String> {
    let parts: [&[u8]; 4] = [tenant.0.as_bytes(), before.as_bytes(), &seq.to_le_bytes(), mac.as_bytes()];
    platform.secrets.macs(Use::Audit, &parts).iter().map(hex).collect()
}

fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}

/// A page of the tenant's audit log.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<AuditRow>> {
    let query = within_window(platform, query);
    let prepared = Prepared::new(platform, principal.tenant, "audit-logs", &audit::fields(), &query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = audit::list(&mut tx, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// Days that a list goes back when it does not say.
const WINDOW_DAYS: i64 = 90;

/// A list that does not say from when looks at the last 90 days, so that it does not read
/// every month there is.
fn within_window(platform: &Platform, query: &ListQuery) -> ListQuery {
    let mut query = query.clone();
    let says = query.parameters.iter().any(|p| p.field == "created_at" || p.field == "id" || p.field == "request_id")
        || query.tree.as_ref().is_some_and(says_when);
    if !says {
        query.not_before = Some(platform.now() - chrono::TimeDelta::days(WINDOW_DAYS));
    }
    query
}

/// Whether a filter tree names a field by which few rows are found.
fn says_when(tree: &Json) -> bool {
    let text = tree.to_string();
    ["created_at", "id", "request_id"].iter().any(|field| text.contains(&format!("\"field\":\"{field}\"")))
}

/// One row of it.
pub async fn get(platform: &Platform, principal: &Principal, id: Uuid) -> Result<AuditRow> {
    let mut tx = platform.db.read(principal.tenant).await?;
    audit::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)
}
