//! What another version means for the data that is there: whether its records are still good,
//! which of them are held, and how far the plugin is with what it does about it.

use std::time::{Duration, Instant};

use purlin_domain::{
    Json, Timestamp,
    descriptor::StepKind,
    error::Violation,
    id::{JobId, RecordId, TenantId},
    job::LIFECYCLE,
    principal::Principal,
    record::CollectionRef,
};
use purlin_store::{
    TenantTx,
    installations::{self, Installation},
    jobs, record_references, records,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Platform, Result, ServiceError, catalog::Loaded};

/// The last step in its life that a plugin was told of: what it does about an upgrade, for
/// example.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StepView {
    /// The step: `enabled`, `upgraded` or `configured`.
    pub step: String,
    /// Its job; one that asks to go on has another one for each round.
    pub job_id: JobId,
    /// Where the job is in its life.
    pub state: String,
    /// How often the plugin went on so far.
    pub rounds: u64,
    /// How far it is, 0 to 100, as far as it says.
    pub progress: Option<i64>,
    /// What it says of that.
    pub progress_message: Option<String>,
    /// Why its last run failed.
    pub last_error: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl StepView {
    /// What is wrong since the plugin failed at the step for good, if it did: the version runs, over
    /// records that it may have left as they were.
    pub(super) fn failure(&self) -> Option<String> {
        let why = self.last_error.as_deref().unwrap_or("it failed");
        (self.state == "dead")
            .then(|| format!("the step `{}` is a dead letter: {why}; retry the job, or go back", self.step))
    }
}

/// The last step that a plugin was told of.
pub(super) async fn last_step(tx: &mut TenantTx, plugin: &str) -> Result<Option<StepView>> {
    let Some(job) = jobs::last_of_kind(tx, plugin, LIFECYCLE).await? else { return Ok(None) };
    let step = match job.payload.get("step") {
        Some(Json::String(step)) => step.clone(),
        Some(Json::Object(step)) => step.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    Ok(Some(StepView {
        step: step.to_lowercase(),
        job_id: job.id,
        state: job.state.as_str().to_owned(),
        rounds: job.payload.get("rounds").and_then(Json::as_u64).unwrap_or(0),
        progress: job.progress,
        progress_message: job.progress_message,
        last_error: job.last_error,
        updated_at: job.updated_at,
    }))
}

/// Refuse a version under which the records of the one before may not be good, unless it says
/// that it does something about it: then it is told of the upgrade.
pub(super) fn check_records(before: &Loaded, after: &Loaded) -> Result<()> {
    let wrong = after.descriptor.breaks(&before.descriptor);
    if wrong.is_empty() || after.descriptor.is_told_of(StepKind::Upgraded) {
        return Ok(());
    }
    Err(ServiceError::Invalid(wrong))
}

/// What a rollback would mean for the records that are there.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RollbackPreview {
    /// The plugin.
    pub plugin: String,
    /// The version that runs.
    pub version: String,
    /// The version that would run.
    pub previous_version: String,
    /// Whether every record was looked at; false where that took more than 5 seconds.
    pub is_complete: bool,
    /// The plugin's collections, in the version that would run.
    pub collections: Vec<CollectionPreview>,
}

/// What a rollback would mean for a collection.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CollectionPreview {
    /// The collection.
    pub collection: String,
    /// Records that were looked at.
    pub records: u64,
    /// How many of them the previous schema rejects: the old code can read them, and can change
    /// them only into what it accepts.
    pub rejected: u64,
    /// The first of those, 10 at most.
    pub examples: Vec<RejectedRecord>,
}

/// A record that the previous schema rejects.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RejectedRecord {
    /// The record.
    pub id: RecordId,
    /// What is wrong with it.
    pub errors: Vec<Violation>,
}

/// How long records are looked at, how many of them in one query, and how many are told.
const PREVIEW_MAX: Duration = Duration::from_secs(5);
const AT_ONCE: u32 = 500;
const EXAMPLES_MAX: usize = 10;

/// What a rollback would mean; which changes nothing.
pub async fn roll_back_preview(platform: &Platform, principal: &Principal, plugin: &str) -> Result<RollbackPreview> {
    let mut tx = platform.db.read(principal.tenant).await?;
    let installation = installations::by_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let previous = installations::previous_version(&mut tx, plugin).await?;
    let (Some(version_id), Some(previous_version)) = (previous, installation.previous_version.clone()) else {
        return Err(no_previous_version());
    };
    let version = installation.version.clone();
    let loaded = platform.catalog.load(&mut tx, &Installation { version_id, ..installation }).await?;
    drop(tx);
    let until = Instant::now() + PREVIEW_MAX;
    let (mut collections, mut is_complete) = (Vec::new(), true);
    for collection in &loaded.descriptor.collections {
        let of = CollectionRef { plugin: plugin.to_owned(), collection: collection.name.clone() };
        let (preview, is_all) = preview(platform, principal.tenant, &loaded, &of, until).await?;
        collections.push(preview);
        is_complete &= is_all;
    }
    Ok(RollbackPreview { plugin: plugin.to_owned(), version, previous_version, is_complete, collections })
}

pub(super) fn no_previous_version() -> ServiceError {
    ServiceError::Conflict("no_previous_version", "there is no version to go back to".to_owned())
}

/// The same of a collection, until then; whether that was all of it.
async fn preview(
    platform: &Platform,
    tenant: TenantId,
    loaded: &Loaded,
    of: &CollectionRef,
    until: Instant,
) -> Result<(CollectionPreview, bool)> {
    let mut found =
        CollectionPreview { collection: of.collection.clone(), records: 0, rejected: 0, examples: Vec::new() };
    let mut after = None;
    while Instant::now() < until {
        let mut tx = platform.db.read(tenant).await?;
        let page = records::after(&mut tx, of, after, AT_ONCE, false).await?;
        drop(tx);
        let Some(last) = page.last() else { return Ok((found, true)) };
        after = Some(last.id);
        for record in page {
            let errors = loaded.record_violations(platform, tenant, &of.collection, &record.data).await?;
            found.records += 1;
            found.rejected += u64::from(!errors.is_empty());
            if !errors.is_empty() && found.examples.len() < EXAMPLES_MAX {
                found.examples.push(RejectedRecord { id: record.id, errors });
            }
        }
        tokio::task::yield_now().await;
    }
    Ok((found, false))
}

/// Let go of records that the version does not hold any more.
pub(super) async fn let_go(tx: &mut TenantTx, loaded: &Loaded) -> Result<()> {
    let plugin = &loaded.descriptor.name;
    let mut declared = Vec::new();
    for collection in &loaded.descriptor.collections {
        let held = collection.references.iter().filter(|reference| reference.restricts(plugin));
        declared.extend(held.map(|reference| format!("{}.{}", collection.name, reference.property)));
    }
    Ok(record_references::keep_only(tx, plugin, &declared).await?)
}
