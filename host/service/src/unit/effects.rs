//! Events, jobs, audit entries and progress: gathered until the commit.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use purlin_domain::{
    Json,
    audit::AuditEntry,
    error::HostError,
    event::NewEvent,
    id::{EventId, JobId},
    job::{JobOptions, JobState, NewJob, PRIORITY_MAX},
    limits::Limit,
    name::is_dotted,
};
use purlin_store::{jobs, jobs::Job};

use super::{HostResult, Unit, unavailable};
use crate::{catalog::Enabled, jobs::backlog};

/// Longest delay of a job: a year.
const DELAY_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1_000;
const KEY_BYTES_MAX: usize = 200;
const SUBJECT_BYTES_MAX: usize = 200;
const PROGRESS_BYTES_MAX: usize = 500;
/// Between two that others are told of while the job runs.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

impl Unit {
    /// Publish an event the acting plugin declares.
    pub async fn publish(&mut self, event_type: &str, subject: Option<String>, data: Json) -> HostResult<EventId> {
        let plugin = self.acting()?;
        self.publish_for(&plugin, event_type, subject, data).await
    }

    /// Publish an event that this plugin declares.
    pub(crate) async fn publish_for(
        &mut self,
        plugin: &Enabled,
        event_type: &str,
        subject: Option<String>,
        data: Json,
    ) -> HostResult<EventId> {
        self.writable()?;
        if plugin.loaded.descriptor.event(event_type).is_none() {
            return Err(HostError::invalid(
                "/type",
                "undeclared",
                format!("`{event_type}` is not among the events the descriptor declares"),
            ));
        }
        if subject.as_ref().is_some_and(|s| s.len() > SUBJECT_BYTES_MAX) {
            return Err(HostError::invalid("/subject", "length", format!("at most {SUBJECT_BYTES_MAX} bytes")));
        }
        self.payload_within(&data)?;
        let wrong = plugin.loaded.payload_violations(&self.platform, self.principal.tenant, event_type, &data).await?;
        if !wrong.is_empty() {
            return Err(HostError::Invalid(wrong.into_iter().map(|violation| violation.beneath("data")).collect()));
        }
        if self.events.len() >= self.limits.events {
            return Err(HostError::Limit(Limit::Events));
        }
        self.extend_chain().await?;
        let id = self.platform.id();
        let source = format!("/plugins/{}", plugin.installation.plugin);
        self.events.push(NewEvent { id, source, event_type: event_type.to_owned(), subject, data });
        Ok(id)
    }

    /// Enqueue a job of the acting plugin.
    pub async fn enqueue(&mut self, kind: &str, payload: Json, options: &JobOptions) -> HostResult<JobId> {
        let plugin = self.acting()?;
        self.enqueue_for(&plugin, kind, payload, options).await
    }

    /// Enqueue a job of this plugin.
    pub(crate) async fn enqueue_for(
        &mut self,
        plugin: &Enabled,
        kind: &str,
        payload: Json,
        options: &JobOptions,
    ) -> HostResult<JobId> {
        let declared =
            plugin.loaded.descriptor.job(kind).ok_or_else(|| {
                HostError::invalid("/kind", "undeclared", format!("`{kind}` is not a kind of job here"))
            })?;
        let wrong = plugin.loaded.payload_violations(&self.platform, self.principal.tenant, kind, &payload).await?;
        if !wrong.is_empty() {
            return Err(HostError::Invalid(wrong.into_iter().map(|violation| violation.beneath("payload")).collect()));
        }
        let job = NewJob {
            attempts_max: declared.attempts,
            queue: declared.queue,
            ..NewJob::new(self.platform.id(), kind, payload, self.platform.now())
        };
        self.enqueue_as(&plugin.installation.plugin, job, options).await
    }

    /// Enqueue a job for whoever runs it, as its options say.
    pub(crate) async fn enqueue_as(&mut self, plugin: &str, job: NewJob, options: &JobOptions) -> HostResult<JobId> {
        self.writable()?;
        check_options(options)?;
        self.payload_within(&job.payload)?;
        if let Some(key) = &options.unique_key
            && let Some(id) = self.unfinished(&job.kind, key).await?
        {
            return Ok(id);
        }
        if self.jobs.len() >= self.limits.jobs {
            return Err(HostError::Limit(Limit::Jobs));
        }
        self.extend_chain().await?;
        backlog::grow(&self.platform, self.principal.tenant).await?;
        let delay = TimeDelta::milliseconds(i64::try_from(options.delay_ms).unwrap_or(i64::MAX));
        let job = NewJob {
            run_at: job.run_at + delay,
            unique_key: options.unique_key.clone(),
            // A lane is a plugin's own, so that none blocks another's.
            ordering_key: options.ordering_key.as_ref().map(|key| format!("{plugin}/{key}")),
            queue: options.queue.unwrap_or(job.queue),
            priority: options.priority.unwrap_or(job.priority),
            ..job
        };
        let id = job.id;
        self.jobs.push((job, plugin.to_owned()));
        Ok(id)
    }

    /// A job that this unit enqueues, as people see it.
    pub(crate) fn new_job(&self, id: JobId) -> Option<Job> {
        let (job, plugin) = self.jobs.iter().find(|(job, _)| job.id == id)?;
        let now = self.platform.now();
        Some(Job {
            id,
            kind: job.kind.clone(),
            plugin: plugin.clone(),
            payload: job.payload.clone(),
            state: if job.run_at > now { JobState::Scheduled } else { JobState::Ready },
            queue: job.queue,
            priority: i64::from(job.priority),
            run_at: job.run_at,
            attempt: 0,
            attempts_max: i64::from(job.attempts_max),
            crashes: 0,
            last_error: None,
            result: None,
            progress: None,
            progress_message: None,
            event_id: None,
            unique_key: job.unique_key.clone(),
            ordering_key: job.ordering_key.clone(),
            schedule_id: job.schedule,
            webhook_id: job.webhook,
            caused_by: self.cause.user.map(|user| user.0),
            traceparent: Some(self.cause.trace.to_string()),
            started_at: None,
            finished_at: None,
            cancel_at: None,
            created_at: now,
            updated_at: now,
        })
    }

    /// Add what the platform itself has to say to the audit log.
    pub(crate) fn note_audit(&mut self, entry: AuditEntry) {
        self.audit.push(entry);
    }

    /// Record that a person enqueued this job; one that was there already was not.
    pub(crate) fn record_enqueue(&mut self, id: JobId, kind: &str) {
        if self.jobs.iter().all(|(job, _)| job.id != id) {
            return;
        }
        self.note_audit(AuditEntry {
            action: "job.enqueued".to_owned(),
            resource_type: "job".to_owned(),
            resource_id: Some(id.to_string()),
            changes: serde_json::json!({ "kind": { "before": null, "after": kind } }),
        });
    }

    async fn unfinished(&self, kind: &str, key: &str) -> HostResult<Option<JobId>> {
        let own = self.jobs.iter().find(|(job, _)| job.kind == kind && job.unique_key.as_deref() == Some(key));
        if let Some((job, _)) = own {
            return Ok(Some(job.id));
        }
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let found = jobs::unfinished_with_key(&mut tx, kind, key).await.map_err(unavailable)?;
        // One that this unit cancels makes room.
        Ok(found.filter(|id| self.cancels.iter().all(|(cancelled, _)| cancelled != id)))
    }

    /// The state of a job of the acting plugin, as this unit sees it.
    pub async fn job_state(&self, id: JobId) -> HostResult<JobState> {
        let plugin = self.acting()?;
        if self.cancels.iter().any(|(cancelled, _)| *cancelled == id) {
            return Ok(JobState::Cancelled);
        }
        if self.jobs.iter().any(|(job, _)| job.id == id) {
            return Ok(JobState::Ready);
        }
        let mut tx = self.platform.db.read(self.principal.tenant).await.map_err(unavailable)?;
        let job = jobs::by_id(&mut tx, id).await.map_err(unavailable)?;
        job.filter(|job| job.plugin == plugin.installation.plugin).map(|job| job.state).ok_or(HostError::NotFound)
    }

    /// Cancel a job of the acting plugin that has not started.
    pub async fn cancel(&mut self, id: JobId) -> HostResult<()> {
        self.writable()?;
        let plugin = self.acting()?;
        match self.job_state(id).await? {
            JobState::Cancelled => return Ok(()),
            JobState::Ready | JobState::Scheduled | JobState::Waiting => {}
            other => return Err(HostError::Conflict(format!("the job is {}", other.as_str()))),
        }
        let before = self.jobs.len();
        self.jobs.retain(|(job, _)| job.id != id);
        if self.jobs.len() == before {
            if self.cancels.len() >= self.limits.jobs {
                return Err(HostError::Limit(Limit::Jobs));
            }
            self.cancels.push((id, plugin.installation.plugin.clone()));
        }
        Ok(())
    }

    /// Tell how far the running job is. The last is kept with the commit; before that others
    /// are told now and then, past the unit, since it is of use to them only while it runs.
    pub async fn progress(&mut self, percent: u8, message: Option<String>) -> HostResult<()> {
        self.writable()?;
        if percent > 100 {
            return Err(HostError::invalid("/percent", "range", "0 to 100"));
        }
        if message.as_ref().is_some_and(|m| m.len() > PROGRESS_BYTES_MAX) {
            return Err(HostError::invalid("/message", "length", format!("at most {PROGRESS_BYTES_MAX} bytes")));
        }
        if let Some((claim, at)) = &mut self.told
            && at.elapsed() >= PROGRESS_EVERY
        {
            *at = Instant::now();
            let mut tx = self.platform.db.write(self.principal.tenant).await.map_err(unavailable)?;
            let now = self.platform.now();
            // Of a claim that was lost the commit will hear.
            jobs::tell_progress(&mut tx, *claim, percent.into(), message.clone(), now).await.map_err(unavailable)?;
            tx.commit().await.map_err(unavailable)?;
        }
        self.progress = Some((i64::from(percent), message));
        Ok(())
    }

    /// Add an entry to the audit log, in the acting plugin's name space.
    pub fn record_audit(&mut self, entry: AuditEntry) -> HostResult<()> {
        self.writable()?;
        let plugin = self.acting()?;
        let own = format!("{}.", plugin.installation.plugin);
        if !is_dotted(&entry.action) || !entry.action.starts_with(&own) {
            return Err(HostError::invalid(
                "/action",
                "name",
                format!("`{}` does not lie in the name space `{own}`", entry.action),
            ));
        }
        let fits = |text: &str| text.len() <= SUBJECT_BYTES_MAX;
        if !fits(&entry.resource_type) || !entry.resource_id.as_deref().is_none_or(fits) {
            return Err(HostError::invalid("/resource_type", "length", format!("at most {SUBJECT_BYTES_MAX} bytes")));
        }
        if !entry.changes.is_object() {
            return Err(HostError::invalid("/changes", "type", "an object is needed"));
        }
        self.payload_within(&entry.changes)?;
        if self.audit.len() >= self.limits.audit_entries {
            return Err(HostError::Limit(Limit::AuditEntries));
        }
        self.audit.push(entry);
        Ok(())
    }

    pub(super) fn acting(&self) -> HostResult<Enabled> {
        self.plugin.clone().ok_or_else(|| HostError::Unavailable("no plugin acts here".to_owned()))
    }
}

fn check_options(options: &JobOptions) -> HostResult<()> {
    if options.delay_ms > DELAY_MS_MAX {
        return Err(HostError::invalid("/delay_ms", "range", format!("at most {DELAY_MS_MAX}, a year")));
    }
    if options.priority.is_some_and(|priority| priority > PRIORITY_MAX) {
        return Err(HostError::invalid("/priority", "range", format!("0 to {PRIORITY_MAX}")));
    }
    for (pointer, key) in [("/unique_key", &options.unique_key), ("/ordering_key", &options.ordering_key)] {
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            return Err(HostError::invalid(pointer, "length", format!("1 to {KEY_BYTES_MAX} bytes")));
        }
    }
    Ok(())
}
