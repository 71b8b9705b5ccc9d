//! What another version means for the data that is there: whether its records are still good,
//! which of them are held, and how far the plugin is with what it does about it.

use purlin_domain::{Json, Timestamp, descriptor::StepKind, id::JobId, job::LIFECYCLE};
use purlin_store::{TenantTx, jobs, record_references};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Result, ServiceError, catalog::Loaded};

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
