//! Jobs: what people see of them, and what workers do with them.

mod engine;

use std::sync::Arc;

use purlin_domain::{Json, id::JobId, principal::Principal};
use purlin_store::jobs::{self, Job, JobSummary};
use serde::Deserialize;
use serde_json::json;

pub use engine::{Assignment, Work, beat, begin, claim, fail, release, rescue, take_over};
pub use purlin_store::jobs::{Claimed, Fence};

use crate::{
    Platform, Result, ServiceError, catalog,
    list::{ListPage, ListQuery, Prepared},
    unit::{CommitError, Unit},
};

/// A job somebody wants done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// A kind that an enabled plugin declares, for example `inventory.valuation`.
    pub kind: String,
    /// What it is about.
    #[serde(default = "empty")]
    pub payload: Json,
    /// Not before this many milliseconds from now.
    #[serde(default)]
    pub delay_ms: u64,
    /// While an unfinished job of this kind has this key, it is returned instead.
    pub unique_key: Option<String>,
}

fn empty() -> Json {
    json!({})
}

/// A page of the tenant's jobs, deliveries of events included.
pub async fn list(platform: &Platform, principal: &Principal, query: &ListQuery) -> Result<ListPage<JobSummary>> {
    let prepared = Prepared::new(platform, principal.tenant, "jobs", &jobs::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    let page = jobs::list(&mut tx, &prepared.filter, &prepared.sort, prepared.after.as_deref(), prepared.size).await?;
    Ok(prepared.page(platform, page.rows, page.more))
}

/// One job.
pub async fn get(platform: &Platform, principal: &Principal, id: JobId) -> Result<Job> {
    let mut tx = platform.db.read(principal.tenant).await?;
    jobs::by_id(&mut tx, id).await?.ok_or(ServiceError::NotFound)
}

/// Enqueue a job of an enabled plugin.
pub async fn enqueue(platform: &Arc<Platform>, principal: &Principal, request: JobRequest) -> Result<Job> {
    let unknown = || ServiceError::invalid("/kind", "undeclared", "no enabled plugin has this kind of job");
    let name = request.kind.split('.').next().unwrap_or_default();
    let mut tx = platform.db.read(principal.tenant).await?;
    let plugin = catalog::enabled_plugin(platform, &mut tx, name).await?.ok_or_else(unknown)?;
    drop(tx);
    let mut reruns = 0;
    loop {
        let mut unit = Unit::for_request(platform, principal);
        let JobRequest { kind, payload, delay_ms, unique_key } = &request;
        let id = unit.enqueue_for(&plugin, kind, payload.clone(), *delay_ms, unique_key.clone()).await?;
        unit.record_enqueue(id, kind);
        match unit.commit(None).await {
            Ok(()) => return get(platform, principal, id).await,
            Err(CommitError::Failed(error)) => return Err(error),
            Err(CommitError::LeaseLost | CommitError::Withdrawn) => {
                return Err(ServiceError::internal("a request has no lease to lose"));
            }
            // Another request took the unique key meanwhile: its job is the one to return.
            Err(CommitError::Conflict(_)) if reruns < platform.settings.limits.reruns => reruns += 1,
            Err(CommitError::Conflict(why)) => return Err(ServiceError::Conflict("conflict", why)),
        }
    }
}
