//! `jobs`: enqueueing, and the state of the plugin's own jobs.

use purlin_domain::{
    Json,
    error::HostError,
    id::JobId,
    job::{JobOptions, JobRun, JobState, Queue},
};

use super::Host;
use crate::{
    bindings::purlin::platform::{jobs as wit, types},
    state::{State, id, json, len, plain},
};

/// What the platform answers.
pub trait Jobs {
    /// Enqueue a job, to be committed with the invocation.
    fn enqueue(
        &mut self,
        kind: &str,
        payload: Json,
        options: JobOptions,
    ) -> impl Future<Output = Result<JobId, HostError>> + Send;

    /// The state of a job of this plugin.
    fn job_state(&mut self, id: JobId) -> impl Future<Output = Result<JobState, HostError>> + Send;

    /// Cancel a job of this plugin that waits.
    fn cancel(&mut self, id: JobId) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Tell how far the running job is.
    fn progress(&mut self, percent: u8, message: Option<String>) -> impl Future<Output = Result<(), HostError>> + Send;
}

impl<H: Host> wit::Host for State<H> {
    async fn enqueue(
        &mut self,
        kind: String,
        payload: String,
        options: wit::Options,
    ) -> wasmtime::Result<Result<String, types::Error>> {
        let keys = len(options.unique_key.as_ref()) + len(options.ordering_key.as_ref());
        let host = self.call(kind.len() + payload.len() + keys)?;
        let enqueued = async {
            let options = JobOptions {
                delay_ms: options.delay_ms,
                unique_key: plain("/unique_key", options.unique_key)?,
                ordering_key: plain("/ordering_key", options.ordering_key)?,
                queue: options.queue.map(|queue| match queue {
                    wit::Queue::High => Queue::High,
                    wit::Queue::Default => Queue::Default,
                    wit::Queue::Low => Queue::Low,
                }),
                priority: options.priority,
            };
            host.enqueue(&kind, json("/payload", &payload)?, options).await
        }
        .await;
        Ok(enqueued.map(|id| id.to_string()).map_err(types::Error::from))
    }

    async fn status(&mut self, job: String) -> wasmtime::Result<Result<wit::State, types::Error>> {
        let host = self.call(job.len())?;
        let state = async { host.job_state(id(&job)?).await }.await;
        Ok(state.map_err(types::Error::from).map(|state| match state {
            JobState::Scheduled => wit::State::Scheduled,
            JobState::Waiting => wit::State::Waiting,
            JobState::Ready => wit::State::Ready,
            JobState::Running => wit::State::Running,
            JobState::Succeeded => wit::State::Succeeded,
            JobState::Dead => wit::State::Dead,
            JobState::Cancelled => wit::State::Cancelled,
        }))
    }

    async fn cancel(&mut self, job: String) -> wasmtime::Result<Result<(), types::Error>> {
        let host = self.call(job.len())?;
        let cancelled = async { host.cancel(id(&job)?).await }.await;
        Ok(cancelled.map_err(types::Error::from))
    }

    async fn progress(&mut self, percent: u8, message: Option<String>) -> wasmtime::Result<Result<(), types::Error>> {
        let host = self.call(len(message.as_ref()))?;
        let told = async { host.progress(percent, plain("/message", message)?).await }.await;
        Ok(told.map_err(types::Error::from))
    }
}

impl From<&JobRun> for wit::Job {
    fn from(run: &JobRun) -> Self {
        Self {
            id: run.id.to_string(),
            kind: run.kind.clone(),
            payload: run.payload.to_string(),
            attempt: run.attempt,
            attempts_max: run.attempts_max,
        }
    }
}
