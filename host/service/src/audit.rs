//! Reading the audit log. Writing it is part of every mutation.

use purlin_domain::principal::Principal;
use purlin_store::audit::{self, AuditRow};
use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError,
    list::{ListPage, ListQuery, Prepared},
};

/// A page of the tenant's audit log.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<AuditRow>> {
    let prepared = Prepared::new(platform, principal.tenant, "audit-logs", &audit::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = audit::list(&mut tx, &prepared.filter, &prepared.sort, prepared.after.as_deref(), prepared.size).await?;
    Ok(prepared.page(platform, page.rows, page.more))
}

/// One row of it.
pub async fn get(platform: &Platform, principal: &Principal, id: Uuid) -> Result<AuditRow> {
    let mut tx = platform.db.read(principal.tenant).await?;
    audit::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)
}
