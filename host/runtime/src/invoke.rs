//! One invocation: a fresh instance, one call, every limit.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use purlin_domain::{
    Json, document,
    error::{HostError, Violation},
    event::Event,
    guest::{Ended, Step, Usage, Verb, WriteToCheck},
    job::{Failure, JobRun},
    limits::{GuestLimits, Limit},
    log::{LogLine, escape_control},
    route::{GuestRequest, GuestResponse},
};
use tokio::{
    sync::Semaphore,
    task::coop::unconstrained,
    time::{Instant, sleep_until},
};
use wasmtime::{Store, UpdateDeadline};

use crate::{
    bindings::exports::purlin::platform::guest as wit,
    error::{HostUnavailable, LimitMet},
    host::Host,
    log::Log,
    meter::Metered,
    runtime::{Prepared, Runtime},
    state::{State, json},
};

/// What to call.
#[derive(Clone, Debug)]
pub enum Call {
    /// `on-event`.
    Event(Arc<Event>),
    /// `run-job`.
    Job(JobRun),
    /// `on-lifecycle`.
    Step(Step),
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Returned {
    /// It is done; with the result of a job.
    Done(Option<Json>),
    /// It is to be called again, so that it goes on.
    Again,
}

/// What can be asked of a guest, and what it answers.
trait Ask: Send {
    type Answer: Send;

    fn of<H: Host>(
        self,
        guest: &wit::Guest,
        store: &mut Store<State<H>>,
    ) -> impl Future<Output = wasmtime::Result<Self::Answer>> + Send;
}

/// What an event, a job or a step comes to.
type Done = Result<Returned, Failure>;

struct Describe;

impl Ask for Describe {
    /// The descriptor, or why there is none.
    type Answer = Result<Json, String>;

    async fn of<H: Host>(self, guest: &wit::Guest, store: &mut Store<State<H>>) -> wasmtime::Result<Self::Answer> {
        let text = guest.call_describe(store).await?;
        Ok(document::read(text.as_bytes())
            .map_err(|wrong| format!("the descriptor{}: {}", wrong.pointer, wrong.detail)))
    }
}

impl Ask for Call {
    type Answer = Done;

    async fn of<H: Host>(self, guest: &wit::Guest, store: &mut Store<State<H>>) -> wasmtime::Result<Done> {
        Ok(match self {
            Self::Event(event) => {
                let answer = guest.call_on_event(store, &(&*event).into()).await?;
                answer.map(|()| Returned::Done(None)).map_err(failure)
            }
            Self::Job(job) => {
                let answer = guest.call_run_job(store, &(&job).into()).await?;
                answer.map(|result| Returned::Done(result.as_deref().map(result_json))).map_err(failure)
            }
            Self::Step(step) => {
                let step = match step {
                    Step::Enabled => wit::Step::Enabled,
                    Step::Upgraded(from) => wit::Step::Upgraded(from),
                    Step::Configured => wit::Step::Configured,
                };
                let answer = guest.call_on_lifecycle(store, &step).await?;
                let returned = |outcome| match outcome {
                    wit::Outcome::Done => Returned::Done(None),
                    wit::Outcome::Again => Returned::Again,
                };
                answer.map(returned).map_err(failure)
            }
        })
    }
}

impl Ask for GuestRequest {
    type Answer = Result<GuestResponse, HostError>;

    async fn of<H: Host>(self, guest: &wit::Guest, store: &mut Store<State<H>>) -> wasmtime::Result<Self::Answer> {
        let Self { id, method, route, path, params, query, headers, body } = self;
        let request = wit::Request { id, method, route, path, params, query, headers, body };
        let answer = guest.call_handle_request(store, &request).await?;
        let response = |wit::Response { status, headers, body }| GuestResponse { status, headers, body };
        Ok(answer.map(response).map_err(HostError::from))
    }
}

impl Ask for WriteToCheck {
    type Answer = Result<(), Vec<Violation>>;

    async fn of<H: Host>(self, guest: &wit::Guest, store: &mut Store<State<H>>) -> wasmtime::Result<Self::Answer> {
        let write = wit::Write {
            collection: self.collection,
            verb: match self.verb {
                Verb::Create => wit::Verb::Create,
                Verb::Update => wit::Verb::Update,
                Verb::Delete => wit::Verb::Delete,
            },
            id: self.id.to_string(),
            before: self.before.map(|data| data.to_string()),
            after: self.after.map(|data| data.to_string()),
            actor: self.actor.map(|id| id.to_string()),
        };
        let answer = guest.call_before_write(store, &write).await?;
        let told = |found: Vec<wit::Violation>| {
            found.into_iter().map(|v| Violation::new(v.pointer, "plugin", v.detail)).collect()
        };
        Ok(answer.map_err(told))
    }
}

/// How an invocation went.
pub struct Invocation<H, A = Done> {
    /// The guest's answer, or why the host ended it.
    pub outcome: Result<A, Ended>,
    /// Who answered its calls, with what it gathered.
    pub host: Option<H>,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// What it took.
    pub usage: Usage,
}

impl<H: Host> Runtime<H> {
    /// Call a component in a fresh instance. Waits for a free slot first.
    pub async fn invoke(&self, prepared: &Prepared<H>, host: H, call: Call, limits: GuestLimits) -> Invocation<H> {
        self.run(prepared, &self.slots, Some(host), limits, call).await
    }

    /// The same, to answer a request.
    pub async fn answer(
        &self,
        prepared: &Prepared<H>,
        host: H,
        request: GuestRequest,
        limits: GuestLimits,
    ) -> Invocation<H, Result<GuestResponse, HostError>> {
        self.run(prepared, &self.slots, Some(host), limits, request).await
    }

    /// The same, to check a write. Slots of its own, since whoever writes may be a guest that
    /// holds one already.
    pub async fn check(
        &self,
        prepared: &Prepared<H>,
        host: H,
        write: WriteToCheck,
        limits: GuestLimits,
    ) -> Invocation<H, Result<(), Vec<Violation>>> {
        self.run(prepared, &self.check_slots, Some(host), limits, write).await
    }

    /// Ask a component to describe itself, with every import closed.
    pub(crate) async fn describe(&self, prepared: &Prepared<H>) -> Invocation<H, Result<Json, String>> {
        self.run(prepared, &self.slots, None, GuestLimits::DESCRIBE, Describe).await
    }

    async fn run<A: Ask>(
        &self,
        prepared: &Prepared<H>,
        slots: &Semaphore,
        host: Option<H>,
        limits: GuestLimits,
        ask: A,
    ) -> Invocation<H, A::Answer> {
        let log = Log::new(limits.log_bytes, Arc::clone(&self.clock));
        let Ok(_slot) = slots.acquire().await else {
            let outcome = Err(Ended::Unavailable("the runtime is closed".to_owned()));
            return Invocation { outcome, host, log: Vec::new(), usage: Usage::default() };
        };
        let mut store = self.store(State::new(host, limits, log.clone()), limits);
        let meter = Arc::clone(&store.data().meter);
        let answer = {
            let store = &mut store;
            let called = Metered::new(Arc::clone(&meter), async move {
                let plugin = prepared.pre.instantiate_async(&mut *store).await?;
                ask.of(plugin.purlin_platform_guest(), store).await
            });
            within(limits.wall, called).await
        };
        let state = store.data();
        let wall = state.began.elapsed();
        let usage =
            Usage { wall, cpu: meter.used(), memory_bytes: state.limiter.used(), host_calls: state.host_calls() };
        let outcome = match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(ended(&error, state.limiter.refused)),
            None => Err(Ended::Limit(Limit::Wall)),
        };
        // The streams hold unfinished lines until the store is gone.
        let host = store.into_data().into_host();
        Invocation { outcome, host, log: log.take(), usage }
    }

    fn store(&self, state: State<H>, limits: GuestLimits) -> Store<State<H>> {
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.call_bytes);
        store.set_epoch_deadline(1);
        // At every tick the guest gives way to others, and is stopped once its CPU time is used up.
        store.epoch_deadline_callback(|context| {
            let state = context.data();
            if state.meter.used_now() >= state.limits.cpu {
                Err(LimitMet(Limit::Cpu).into())
            } else {
                Ok(UpdateDeadline::Yield(1))
            }
        });
        store
    }
}

/// A future that is given so long; none when that is over. Most invocations never wait: the
/// timer is set for one that does.
async fn within<F: Future + Unpin>(time: Duration, mut future: F) -> Option<F::Output> {
    let until = Instant::now() + time;
    let mut timer = None;
    let poll = |cx: &mut Context<'_>| {
        if let Poll::Ready(answer) = Pin::new(&mut future).poll(cx) {
            return Poll::Ready(Some(answer));
        }
        // Whatever the guest's calls did, the timer is looked at.
        let timer = timer.get_or_insert_with(|| unconstrained(Box::pin(sleep_until(until))));
        Pin::new(timer).poll(cx).map(|()| None)
    };
    poll_fn(poll).await
}

fn ended(error: &wasmtime::Error, memory_refused: bool) -> Ended {
    if let Some(LimitMet(limit)) = error.downcast_ref() {
        return Ended::Limit(*limit);
    }
    if let Some(HostUnavailable(detail)) = error.downcast_ref() {
        return Ended::Unavailable(detail.clone());
    }
    // A guest that is refused memory aborts; the refusal is the reason worth telling.
    if memory_refused {
        return Ended::Limit(Limit::Memory);
    }
    let text = format!("{error:#}");
    if text.contains("fuel allocated for hostcalls") { Ended::Limit(Limit::CallBytes) } else { Ended::Trap(text) }
}

fn failure(failure: wit::Failure) -> Failure {
    match failure {
        wit::Failure::Retry(message) => Failure::Retry(message),
        wit::Failure::RetryAfter((pause_ms, message)) => {
            Failure::RetryAfter(Duration::from_millis(pause_ms.min(PAUSE_MS_MAX)), message)
        }
        wit::Failure::Reject(message) => Failure::Reject(message),
    }
}

/// Longest pause a guest may ask for: a day.
const PAUSE_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// A job's result; what is not JSON that can be stored is kept as text.
fn result_json(text: &str) -> Json {
    json("/result", text).unwrap_or_else(|_| Json::String(escape_control(text)))
}
