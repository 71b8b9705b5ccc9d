//! What people do with jobs: cancel, retry, discard, pause.

use std::sync::Arc;

use purlin_domain::{
    Timestamp,
    id::JobId,
    job::{JobState, Queue},
    principal::Principal,
};
use purlin_store::{
    job_pauses::{self, EVERY, JobPause},
    jobs::{self, Job, Selection},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError,
    change::{Change, Mutation},
    jobs::backlog,
};

/// Dead letters retried in one request at most.
const RETRIED_MAX: u32 = 1_000;
const REASON_CHARS_MAX: usize = 500;

fn changed(what: &'static str, job: &Job, state: &str) -> Change {
    Change {
        what,
        resource_type: "job",
        id: job.id.to_string(),
        changes: json!({ "state": { "before": job.state, "after": state } }),
        data: None,
    }
}

/// Take a job back: at once while it waits, as soon as its worker hears of it while it runs.
pub async fn cancel(platform: &Arc<Platform>, principal: &Principal, id: JobId) -> Result<Job> {
    let mut change = Mutation::begin(platform, principal).await?;
    let now = change.now;
    let job = jobs::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    let waits = jobs::cancel(&mut change.tx, id, None, now).await?;
    if !waits && !jobs::request_cancel(&mut change.tx, id, now).await? {
        let job = jobs::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
        return Err(ServiceError::Conflict("ended", format!("the job is {} already", job.state.as_str())));
    }
    change.note(changed("job.cancelled", &job, if waits { "cancelled" } else { "cancelling" }));
    let after = jobs::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    let after = change.finish(after).await?;
    if !waits {
        platform.tell_cancelled();
    }
    Ok(after)
}

/// Run a dead letter again, with all its attempts before it.
pub async fn retry(platform: &Platform, principal: &Principal, id: JobId) -> Result<Job> {
    backlog::grow(platform, principal.tenant).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let job = jobs::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    if job.state != JobState::Dead {
        let why = format!("only a dead letter is retried; the job is {}", job.state.as_str());
        return Err(ServiceError::Conflict("not_dead", why));
    }
    let now = change.now;
    if !jobs::retry(&mut change.tx, id, now).await? {
        let why = "an unfinished job has its unique key; cancel that one, or discard this one";
        return Err(ServiceError::Conflict("key_taken", why.to_owned()));
    }
    change.note(changed("job.retried", &job, "ready"));
    let after = jobs::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    change.finish(after).await
}

/// Which dead letters to run again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryMany {
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this plugin.
    pub plugin: Option<String>,
    /// For this webhook.
    pub webhook_id: Option<Uuid>,
    /// That ended at this instant or later.
    pub since: Option<Timestamp>,
}

/// How many dead letters run again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Retried {
    /// So many; 1,000 at most, so that asking again may find more.
    pub count: u64,
}

/// Run dead letters again, the oldest first.
pub async fn retry_many(platform: &Platform, principal: &Principal, which: &RetryMany) -> Result<Retried> {
    // Counted by now, so that no second connection is needed below.
    backlog::grow_by(platform, principal.tenant, 0).await?;
    let mut change = Mutation::begin(platform, principal).await?;
    let selection = Selection {
        kind: which.kind.clone(),
        plugin: which.plugin.clone(),
        webhook: which.webhook_id,
        since: which.since,
    };
    let now = change.now;
    let count = jobs::retry_many(&mut change.tx, &selection, RETRIED_MAX, now).await?;
    backlog::grow_by(platform, principal.tenant, usize::try_from(count).unwrap_or(usize::MAX)).await?;
    if count > 0 {
        change.note(Change {
            what: "job.retried",
            resource_type: "job",
            id: EVERY.to_owned(),
            changes: json!({
                "count": { "before": null, "after": count },
                "kind": which.kind, "plugin": which.plugin, "webhook_id": which.webhook_id, "since": which.since,
            }),
            data: None,
        });
    }
    change.finish(Retried { count }).await
}

/// Throw a dead letter away.
pub async fn discard(platform: &Platform, principal: &Principal, id: JobId) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    let job = jobs::by_id(&mut change.tx, id).await?.ok_or(ServiceError::NotFound)?;
    let now = change.now;
    if !jobs::discard(&mut change.tx, id, now).await? {
        let why = format!("only a dead letter is discarded; the job is {}", job.state.as_str());
        return Err(ServiceError::Conflict("not_dead", why));
    }
    change.note(changed("job.discarded", &job, "discarded"));
    change.finish(()).await
}

/// Jobs that are not to run for now.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPause {
    /// Of this queue; of every one when missing. One of `queue` and `kind` must be there.
    pub queue: Option<Queue>,
    /// Of this kind; of every one when missing, or `*`.
    pub kind: Option<String>,
    /// Why, for whoever wonders.
    #[serde(default)]
    pub reason: String,
}

impl NewPause {
    /// The queue; `*` for every one.
    pub fn queue(&self) -> &'static str {
        self.queue.map_or(EVERY, Queue::as_str)
    }

    /// The kind; `*` for every one.
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or(EVERY)
    }

    fn at(&self, now: Timestamp) -> Result<JobPause> {
        if self.reason.chars().count() > REASON_CHARS_MAX || self.kind().len() > REASON_CHARS_MAX {
            let why = format!("at most {REASON_CHARS_MAX} characters");
            return Err(ServiceError::invalid("/reason", "length", why));
        }
        if self.queue.is_none() && self.kind.is_none() {
            let why = "say which: a `queue`, a `kind`, or `\"kind\": \"*\"` for all jobs";
            return Err(ServiceError::invalid("/kind", "required", why));
        }
        let (queue, kind) = (self.queue().to_owned(), self.kind().to_owned());
        Ok(JobPause { queue, kind, reason: self.reason.clone(), created_at: now })
    }
}

/// Pause jobs of the tenant: those that run end, no other begins.
pub async fn pause(platform: &Platform, principal: &Principal, request: &NewPause) -> Result<JobPause> {
    let mut change = Mutation::begin(platform, principal).await?;
    let pause = request.at(change.now)?;
    if job_pauses::insert(&mut change.tx, &pause, principal.actor.user()).await? {
        change.note(paused_change("job.paused", &pause.queue, &pause.kind, &pause.reason));
    }
    change.finish(pause).await
}

/// Let jobs of the tenant run again.
pub async fn resume(platform: &Platform, principal: &Principal, queue: &str, kind: &str) -> Result<()> {
    let mut change = Mutation::begin(platform, principal).await?;
    if !job_pauses::delete(&mut change.tx, queue, kind).await? {
        return Err(ServiceError::NotFound);
    }
    change.note(paused_change("job.resumed", queue, kind, ""));
    change.finish(()).await
}

fn paused_change(what: &'static str, queue: &str, kind: &str, reason: &str) -> Change {
    Change {
        what,
        resource_type: "job",
        id: format!("{queue}/{kind}"),
        changes: json!({ "queue": queue, "kind": kind, "reason": reason }),
        data: None,
    }
}

/// What is paused in the tenant.
pub async fn paused(platform: &Platform, principal: &Principal) -> Result<Vec<JobPause>> {
    Ok(job_pauses::list(&mut platform.db.read(principal.tenant).await?).await?)
}

/// Pause jobs of every tenant; whether they were not paused before.
pub async fn pause_everywhere(platform: &Platform, request: &NewPause) -> Result<bool> {
    let mut tx = platform.db.platform().await?;
    let added = job_pauses::insert_platform(&mut tx, &request.at(platform.now())?).await?;
    tx.commit().await?;
    Ok(added)
}

/// Let jobs of every tenant run again; whether they were paused.
pub async fn resume_everywhere(platform: &Platform, request: &NewPause) -> Result<bool> {
    let mut tx = platform.db.platform().await?;
    let gone = job_pauses::delete_platform(&mut tx, request.queue(), request.kind()).await?;
    tx.commit().await?;
    platform.wake_workers();
    Ok(gone)
}

/// What is paused for every tenant.
pub async fn paused_everywhere(platform: &Platform) -> Result<Vec<JobPause>> {
    Ok(job_pauses::list_platform(&mut platform.db.platform_read().await?).await?)
}
