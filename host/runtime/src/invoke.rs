//! One invocation: a fresh instance, one call, every limit.

use std::{sync::Arc, time::Duration};

use purlin_domain::{
    Json,
    error::HostError,
    event::Event,
    job::{Failure, JobRun},
    limits::{GuestLimits, Limit},
    log::{LogLine, escape_control},
    route::{Ended, GuestRequest, GuestResponse},
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
    Event(Event),
    /// `run-job`.
    Job(JobRun),
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

/// What an event, a job or a description comes to.
type Done = Result<Option<Json>, Failure>;

struct Describe;

impl Ask for Describe {
    type Answer = Done;

    async fn of<H: Host>(self, guest: &wit::Guest, store: &mut Store<State<H>>) -> wasmtime::Result<Done> {
        let text = guest.call_describe(store).await?;
        let parsed = serde_json::from_str(&text).map(Some);
        Ok(parsed.map_err(|error| Failure::Reject(format!("the descriptor is not JSON: {error}"))))
    }
}

impl Ask for Call {
    type Answer = Done;

    async fn of<H: Host>(self, guest: &wit::Guest, store: &mut Store<State<H>>) -> wasmtime::Result<Done> {
        Ok(match self {
            Self::Event(event) => {
                let answer = guest.call_on_event(store, &(&event).into()).await?;
                answer.map(|()| None).map_err(failure)
            }
            Self::Job(job) => {
                let answer = guest.call_run_job(store, &(&job).into()).await?;
                answer.map(|result| result.as_deref().map(result_json)).map_err(failure)
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

/// What one invocation took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time.
    pub cpu: Duration,
    /// Bytes of memory at its end.
    pub memory_bytes: usize,
    /// Calls to the host.
    pub host_calls: u32,
}

/// How an invocation went.
pub struct Invocation<H, A = Done> {
    /// The guest's answer (a job's result, or its failure), or why the host ended it.
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
        self.run(prepared, Some(host), limits, call).await
    }

    /// The same, to answer a request.
    pub async fn answer(
        &self,
        prepared: &Prepared<H>,
        host: H,
        request: GuestRequest,
        limits: GuestLimits,
    ) -> Invocation<H, Result<GuestResponse, HostError>> {
        self.run(prepared, Some(host), limits, request).await
    }

    /// Ask a component to describe itself, with every import closed.
    pub(crate) async fn describe(&self, prepared: &Prepared<H>) -> Invocation<H> {
        self.run(prepared, None, GuestLimits::DESCRIBE, Describe).await
    }

    async fn run<A: Ask>(
        &self,
        prepared: &Prepared<H>,
        host: Option<H>,
        limits: GuestLimits,
        ask: A,
    ) -> Invocation<H, A::Answer> {
        let clock = Arc::clone(&self.clock);
        let log = Log::new(limits.log_bytes, move || clock.now());
        let Ok(_slot) = self.slots.acquire().await else {
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
            tokio::time::timeout(limits.wall, called).await
        };
        let state = store.data();
        let usage = Usage { cpu: meter.used(), memory_bytes: state.limiter.used(), host_calls: state.host_calls() };
        let outcome = match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ended(&error, state.limiter.refused)),
            Err(_) => Err(Ended::Limit(Limit::Wall)),
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
