//! One claimed job from its claim to its end: prepare the component, call the guest,
//! commit its unit of work; again from the start when a conflict says so.

use std::{sync::Arc, time::Duration};

use purlin_domain::{
    Json,
    clock::Clock,
    guest::{Ended, Usage},
    job::{CORE, Failure},
    log::{LINE_CHARS_MAX, LogLevel, LogLine, escape_control},
    trace::Trace,
};
use purlin_runtime::{Call, Invocation, Prepared, Returned, Runtime};
use purlin_service::{
    Platform, ServiceError, breaker,
    jobs::{self, Assignment, Begun, Claimed, Work},
    ledger::{Invoked, Trigger, Went},
    lifecycle::ROUNDS_MAX,
    metrics::{self, RunOutcome},
    native, plugin_logs, plugins,
    unit::{CommitError, Unit},
};
use tokio::runtime::Handle;
use tracing::Instrument;

use crate::{abort::AbortOnDrop, adapter::UnitHost, fault};

/// What it takes to run a job.
#[derive(Clone)]
pub(crate) struct Invoker {
    pub(crate) platform: Arc<Platform>,
    pub(crate) runtime: Arc<Runtime<UnitHost>>,
    /// Threads of their own: a guest that computes does not slow requests down.
    pub(crate) guests: Handle,
}

/// How a run went wrong, with what the guest logged.
struct Failed {
    why: Why,
    log: Vec<LogLine>,
}

/// What is to become of a run that did not end well.
enum Why {
    /// It failed.
    Failed(Failure),
    /// It is to be given back for this long: neither failed nor done.
    GivenBack(Duration),
}

/// After the platform could not do its part, as while the database is away.
const PAUSE: Duration = Duration::from_secs(1);

/// How a run ended.
pub(crate) enum RunEnd {
    /// Well, with nothing written yet; with what it returned.
    Idle(Option<Json>),
    /// However it did, it is written; or its lease will end.
    Written,
}

impl Invoker {
    /// Run a claimed job to its end. Only its own lease can keep the end from being written.
    pub(crate) async fn run(&self, claimed: &mut Claimed) -> RunEnd {
        if let Err(error) = Box::pin(jobs::complete(&self.platform, claimed)).await {
            return self.let_down(claimed, &error).await;
        }
        let end =
            if claimed.plugin == CORE { self.run_core(claimed).await } else { self.run_unfinished(claimed).await };
        // Whoever is behind it may run once it is written: at once, not with others.
        match end {
            RunEnd::Idle(result) if claimed.ordering_key.is_some() => {
                self.settled(claimed, Box::pin(jobs::succeed(&self.platform, claimed, result)).await);
                RunEnd::Written
            }
            end => end,
        }
    }

    /// A job of the platform's own.
    async fn run_core(&self, claimed: &mut Claimed) -> RunEnd {
        match Box::pin(native::run(&self.platform, claimed)).await {
            Ok(native::Ended::Idle(result)) => RunEnd::Idle(result),
            Ok(native::Ended::Written(held)) => self.settled(claimed, Ok(held)),
            Err(error) => self.let_down(claimed, &error).await,
        }
    }

    async fn run_unfinished(&self, claimed: &Claimed) -> RunEnd {
        let assignment = match jobs::begin(&self.platform, claimed).await {
            Ok(Begun::Ready(assignment)) => assignment,
            Ok(Begun::Later(pause)) => return self.give_back(claimed, pause).await,
            Err(error) => return self.let_down(claimed, &error).await,
        };
        let (log, end) = match self.attempt(&assignment).await {
            Ok((log, end)) => (log, Ok(end)),
            Err(Failed { why, log }) => (log, Err(why)),
        };
        // Whoever sees that the job failed finds out why.
        let kept = plugin_logs::append(&self.platform, claimed.tenant_id, &claimed.plugin, Some(claimed.id), log).await;
        if let Err(error) = kept {
            tracing::warn!(%error, job = %claimed.id, "a plugin's log could not be kept");
        }
        match end {
            Ok(end) => end,
            Err(Why::Failed(failure)) => self.settle(claimed, &failure).await,
            Err(Why::GivenBack(pause)) => self.give_back(claimed, pause).await,
        }
    }

    /// Run until the commit holds or the run has failed.
    async fn attempt(&self, assignment: &Assignment<'_>) -> Result<(Vec<LogLine>, RunEnd), Failed> {
        let failed = |failure| Failed { why: Why::Failed(failure), log: Vec::new() };
        let prepared = self.prepare(assignment).await.map_err(|why| failed(Failure::Retry(why)))?;
        let mut reruns = 0;
        loop {
            let unit = assignment.unit(&self.platform);
            let trace = unit.cause().trace;
            let invocation =
                self.call(assignment, unit, Arc::clone(&prepared)).await.map_err(|why| failed(Failure::Retry(why)))?;
            let Invocation { outcome, host, mut log, usage } = invocation;
            self.enter(assignment, trace, &outcome, host.as_ref(), usage).await;
            // What it stumbled over may be the platform, not itself.
            if !matches!(outcome, Ok(Ok(_))) && host.as_ref().is_some_and(|UnitHost(unit)| unit.was_let_down()) {
                return Err(Failed { why: Why::GivenBack(PAUSE), log });
            }
            tracing::debug!(job = %assignment.claimed.id, plugin = assignment.claimed.plugin, ?usage, "a guest returned");
            let returned = match outcome {
                Ok(Ok(returned)) => returned,
                // What it stumbled over may be that a record changed between two of its reads.
                Ok(Err(_)) if host.as_ref().is_some_and(|UnitHost(unit)| unit.is_stale()) && self.may_rerun(reruns) => {
                    reruns += 1;
                    continue;
                }
                Ok(Err(failure)) => {
                    log.push(self.line(LogLevel::Warn, &format!("failed: {}", failure.message()), assignment));
                    return Err(Failed { why: Why::Failed(failure), log });
                }
                Err(ended) => return Err(self.ended(&ended, log, assignment)),
            };
            let Some(UnitHost(mut unit)) = host else {
                return Err(failed(Failure::Retry("the unit of work is gone".to_owned())));
            };
            let result = match result(&mut unit, returned, &assignment.work) {
                Ok(result) => result,
                Err(failure) => return Err(Failed { why: Why::Failed(failure), log }),
            };
            fault::abort(&assignment.claimed.kind);
            fault::point("before-commit").await;
            fault::pause("slow-commit").await;
            if unit.is_idle() {
                return match unit.check_result(result.as_ref()) {
                    Ok(()) => Ok((log, RunEnd::Idle(result))),
                    Err(error) => Err(Failed { why: Why::Failed(Failure::Retry(error.to_string())), log }),
                };
            }
            match unit.commit_with_others(assignment.ack(result)).await {
                Ok(()) => {
                    fault::point("after-commit").await;
                    metrics::written(&self.platform, assignment.claimed, RunOutcome::Succeeded, true);
                    return Ok((log, RunEnd::Written));
                }
                Err(CommitError::Conflict(why)) if self.may_rerun(reruns) => {
                    tracing::debug!(job = %assignment.claimed.id, why, "run again after a conflict");
                    reruns += 1;
                }
                // Consent changed while it ran: it runs again under what holds then.
                Err(CommitError::Withdrawn) => return Err(Failed { why: Why::GivenBack(Duration::ZERO), log }),
                Err(CommitError::Failed(ServiceError::Unavailable(why))) => {
                    tracing::warn!(why, job = %assignment.claimed.id, "what a run did could not be committed; it will run again");
                    return Err(Failed { why: Why::GivenBack(PAUSE), log });
                }
                Err(CommitError::LeaseLost) => {
                    metrics::lost(assignment.claimed);
                    tracing::warn!(job = %assignment.claimed.id, "the lease was lost; what the run did is dropped");
                    return Ok((log, RunEnd::Written));
                }
                Err(error) => {
                    log.push(self.line(LogLevel::Warn, &format!("could not commit: {error}"), assignment));
                    return Err(Failed { why: Why::Failed(Failure::Retry(error.to_string())), log });
                }
            }
        }
    }

    /// Enter in the ledger how it went.
    async fn enter(
        &self,
        assignment: &Assignment<'_>,
        trace: Trace,
        outcome: &Result<Result<Returned, Failure>, Ended>,
        host: Option<&UnitHost>,
        usage: Usage,
    ) {
        let unit = host.map(|UnitHost(unit)| &**unit);
        let went = match outcome {
            Ok(Ok(_)) => Went::Well,
            Ok(Err(_)) if unit.is_some_and(Unit::was_let_down) => Went::LetDown,
            Ok(Err(_)) => Went::Failed,
            Err(ended) => Went::of(ended),
        };
        let invoked = Invoked { trigger: trigger(assignment, trace), went, usage, gathered: Invoked::gathered(unit) };
        breaker::ended(&self.platform, assignment.claimed.tenant_id, assignment.plugin(), invoked).await;
    }

    fn may_rerun(&self, reruns: u32) -> bool {
        reruns < self.platform.settings.limits.reruns
    }

    async fn prepare(&self, assignment: &Assignment<'_>) -> Result<Arc<Prepared<UnitHost>>, String> {
        let digest = &assignment.plugin().loaded.digest;
        self.runtime
            .prepare(digest, plugins::component(&self.platform, digest))
            .await
            .map_err(|error| error.to_string())
    }

    /// Call the guest on its own threads; dropped with this future.
    async fn call(
        &self,
        assignment: &Assignment<'_>,
        unit: Unit,
        prepared: Arc<Prepared<UnitHost>>,
    ) -> Result<Invocation<UnitHost>, String> {
        let call = match &assignment.work {
            Work::Event(event) => Call::Event(Arc::clone(event)),
            Work::Job(run) => Call::Job(run.clone()),
            Work::Step(step, _) => Call::Step(step.clone()),
        };
        let host = UnitHost(Box::new(unit));
        let (runtime, limits) = (Arc::clone(&self.runtime), assignment.limits);
        let mut task = AbortOnDrop(
            self.guests.spawn(async move { runtime.invoke(&prepared, host, call, limits).await }.in_current_span()),
        );
        (&mut task.0).await.map_err(|error| error.to_string())
    }

    fn ended(&self, ended: &Ended, mut log: Vec<LogLine>, assignment: &Assignment<'_>) -> Failed {
        tracing::warn!(job = %assignment.claimed.id, plugin = assignment.claimed.plugin, %ended, "the host ended an invocation");
        log.push(self.line(LogLevel::Error, &ended.to_string(), assignment));
        Failed { why: Why::Failed(Failure::Retry(ended.to_string())), log }
    }

    /// A line of the host's own in the plugin's log.
    fn line(&self, level: LogLevel, message: &str, assignment: &Assignment<'_>) -> LogLine {
        // A guest's words are in it.
        let message: String = escape_control(message).chars().take(LINE_CHARS_MAX).collect();
        let clock: &dyn Clock = &*self.platform.clock;
        let fields =
            serde_json::json!({ "host": true, "kind": assignment.claimed.kind, "attempt": assignment.claimed.attempt });
        LogLine { time: clock.now(), level, message, fields }
    }

    /// A run that could not begin: no attempt where the platform is not there, one where it
    /// found something wrong.
    async fn let_down(&self, claimed: &Claimed, error: &ServiceError) -> RunEnd {
        match error {
            ServiceError::Unavailable(why) => {
                tracing::warn!(why, job = %claimed.id, "a job could not be begun; it will be tried again");
                self.give_back(claimed, PAUSE).await
            }
            error => self.settle(claimed, &Failure::Retry(error.to_string())).await,
        }
    }

    async fn give_back(&self, claimed: &Claimed, pause: Duration) -> RunEnd {
        self.settled(claimed, Box::pin(jobs::release(&self.platform, claimed.tenant_id, claimed.fence(), pause)).await)
    }

    async fn settle(&self, claimed: &Claimed, failure: &Failure) -> RunEnd {
        self.settled(claimed, Box::pin(jobs::fail(&self.platform, claimed, failure)).await)
    }

    /// Tell the log when the end of a run could not be written. The lease then runs out,
    /// and the job is rescued.
    fn settled(&self, claimed: &Claimed, written: purlin_service::Result<bool>) -> RunEnd {
        match written {
            Ok(true) => {}
            Ok(false) => tracing::warn!(job = %claimed.id, "the lease was lost before the end was written"),
            Err(ServiceError::Unavailable(error)) => {
                tracing::warn!(error, job = %claimed.id, "the end of a run could not be written")
            }
            Err(error) => tracing::error!(%error, job = %claimed.id, "the end of a run could not be written"),
        }
        RunEnd::Written
    }
}

/// What a run is entered as in the ledger.
fn trigger(assignment: &Assignment<'_>, trace: Trace) -> Trigger {
    let claimed = assignment.claimed;
    let (kind, subject) = match &assignment.work {
        Work::Event(event) => ("event", event.event_type.clone()),
        Work::Job(run) => ("job", run.kind.clone()),
        Work::Step(step, _) => ("step", format!("{step:?}")),
    };
    Trigger { kind, subject, job: Some(claimed.id), trace }
}

/// The result of a job; of a step that goes on, that it is to be taken again.
fn result(unit: &mut Unit, returned: Returned, work: &Work) -> Result<Option<Json>, Failure> {
    match (returned, work) {
        (Returned::Done(result), _) => Ok(result),
        (Returned::Again, Work::Step(_, rounds)) if *rounds >= ROUNDS_MAX => {
            Err(Failure::Reject(format!("the step asked {ROUNDS_MAX} times to be taken again")))
        }
        (Returned::Again, Work::Step(step, rounds)) => {
            unit.again(step.clone(), *rounds);
            Ok(None)
        }
        (Returned::Again, Work::Event(_) | Work::Job(_)) => Ok(None),
    }
}
