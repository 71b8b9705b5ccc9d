//! What an invocation costs beside the bare instantiate-and-call of the same component: the
//! runtime with its limits, log, metering and an authority that is asked, over a floor with the
//! same pool. In turns, since what else the machine does changes from minute to minute.
//!
//! `cargo xtask bench runtime` builds the component and runs this.

#![allow(
    clippy::print_stdout,
    clippy::panic,
    clippy::type_complexity,
    missing_docs,
    reason = "a bench prints, and ends when something is wrong"
)]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use purlin_domain::{
    Json, Timestamp,
    access::{Authority, Decision, Permission, PermissionSet},
    audit::AuditEntry,
    clock::SystemClock,
    error::HostError,
    event::Event,
    fetch::{FetchRequest, Fetched},
    file::File,
    id::{EventId, JobId, RecordId, UserId},
    job::{JobOptions, JobState},
    limits::GuestLimits,
    record::{Record, RecordPage},
};
use purlin_runtime::{Call, Compiler, Config, Returned, Runtime, host};
use uuid::Uuid;
use wasmtime::{
    Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit", world: "plugin", imports: { default: async | trappable }, exports: { default: async },
    });
}

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const GUESTS: u32 = 64;

/// Answers a guest's calls from memory; the authority is asked as it is for every call.
struct Answers(Arc<Authority>);

fn unasked<T>() -> Result<T, HostError> {
    Err(HostError::NotFound)
}

impl host::tenancy::Tenancy for Answers {
    async fn tenant(&mut self) -> Result<host::tenancy::Tenant, HostError> {
        unasked()
    }
}

impl host::identity::Identity for Answers {
    fn caused_by(&mut self) -> Option<UserId> {
        None
    }

    async fn user(&mut self, _: UserId) -> Result<host::identity::User, HostError> {
        unasked()
    }
}

impl host::access::Access for Answers {
    fn require(&mut self, resource: &str, action: &str) -> Result<(), HostError> {
        let wanted = Permission::new(resource, action);
        match self.0.decide(&wanted) {
            Decision::Allowed => Ok(()),
            Decision::Denied => Err(HostError::Denied(wanted.to_string())),
            Decision::NotGranted => Err(HostError::NotGranted(wanted.to_string())),
        }
    }

    fn explain(&mut self, resource: &str, action: &str) -> Vec<String> {
        self.0.explain(&Permission::new(resource, action))
    }
}

impl host::audit::Audit for Answers {
    fn record_audit(&mut self, _: AuditEntry) -> Result<(), HostError> {
        unasked()
    }
}

impl host::events::Events for Answers {
    async fn publish(&mut self, _: &str, _: Option<String>, _: Json) -> Result<EventId, HostError> {
        unasked()
    }
}

impl host::jobs::Jobs for Answers {
    async fn enqueue(&mut self, _: &str, _: Json, _: JobOptions) -> Result<JobId, HostError> {
        unasked()
    }

    async fn job_state(&mut self, _: JobId) -> Result<JobState, HostError> {
        unasked()
    }

    async fn cancel(&mut self, _: JobId) -> Result<(), HostError> {
        unasked()
    }

    async fn progress(&mut self, _: u8, _: Option<String>) -> Result<(), HostError> {
        unasked()
    }
}

impl host::records::Records for Answers {
    async fn get(&mut self, _: &str, _: RecordId) -> Result<Record, HostError> {
        unasked()
    }

    async fn create(&mut self, _: &str, _: Json) -> Result<Record, HostError> {
        unasked()
    }

    async fn update(&mut self, _: &str, _: RecordId, _: Json, _: Option<i64>) -> Result<Record, HostError> {
        unasked()
    }

    async fn patch(&mut self, _: &str, _: RecordId, _: Json, _: Option<i64>) -> Result<Record, HostError> {
        unasked()
    }

    async fn lock(&mut self, _: &str) -> Result<(), HostError> {
        unasked()
    }

    async fn delete(&mut self, _: &str, _: RecordId) -> Result<(), HostError> {
        unasked()
    }

    async fn query(&mut self, _: &str, _: host::records::Query) -> Result<RecordPage, HostError> {
        unasked()
    }

    async fn count(&mut self, _: &str, _: Option<Json>) -> Result<u64, HostError> {
        unasked()
    }
}

impl host::files::Files for Answers {
    async fn put(&mut self, _: &str, _: &str, _: Vec<u8>) -> Result<File, HostError> {
        unasked()
    }

    async fn stat(&mut self, _: &str) -> Result<File, HostError> {
        unasked()
    }

    async fn read(&mut self, _: &str, _: u64, _: u32) -> Result<Vec<u8>, HostError> {
        unasked()
    }

    async fn remove(&mut self, _: &str) -> Result<(), HostError> {
        unasked()
    }

    async fn files(&mut self, _: &str, _: u32, _: Option<String>) -> Result<(Vec<File>, Option<String>), HostError> {
        unasked()
    }
}

impl host::settings::Settings for Answers {
    fn settings(&mut self) -> Result<Json, HostError> {
        unasked()
    }

    async fn secret(&mut self, _: &str) -> Result<String, HostError> {
        unasked()
    }
}

impl host::http::Http for Answers {
    async fn fetch(&mut self, _: FetchRequest) -> Result<Fetched, HostError> {
        unasked()
    }
}

impl host::budget::Budget for Answers {
    fn allowances(&mut self) -> Vec<host::budget::Allowance> {
        Vec::new()
    }
}

/// What the guest is asked: an event whose handler asks for a permission and writes a line.
fn event() -> Event {
    Event {
        id: EventId(Uuid::nil()),
        source: "/plugins/probe".to_owned(),
        event_type: "probe.nodded".to_owned(),
        subject: None,
        time: Timestamp::UNIX_EPOCH,
        dataschema: None,
        data: Json::Object(serde_json::Map::new()),
        actor: None,
        caused_by: None,
        depth: 0,
        traceparent: None,
    }
}

/// The floor: a store, an instance and a call; the two functions that the guest calls do nothing.
struct Floor {
    pre: bindings::PluginPre<Bare>,
    engine: Engine,
}

struct Bare {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Floor {
    fn new(bytes: &[u8]) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(GUESTS)
            .total_core_instances(GUESTS * 20)
            .total_memories(GUESTS * 4)
            .total_tables(GUESTS * 20)
            .total_stacks(GUESTS)
            .total_gc_heaps(0)
            .max_memory_size(64 << 20)
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(2 << 20)
            .async_stack_keep_resident(48 << 10)
            .decommit_batch_size(16)
            .pagemap_scan(Enabled::Auto);
        let mut config = wasmtime::Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool)).concurrency_support(false);
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, bytes)?;
        let mut linker: Linker<Bare> = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        linker
            .instance("purlin:platform/access@1.0.0")?
            .func_wrap("check", |_, (_, _): (String, String)| Ok((true,)))?;
        type Line = (bindings::purlin::platform::log::Level, String, Option<String>);
        linker.instance("purlin:platform/log@1.0.0")?.func_wrap("write", |_, _: Line| Ok(()))?;
        linker.define_unknown_imports_as_traps(&component)?;
        let pre = bindings::PluginPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { pre, engine })
    }

    async fn call(&self, event: &bindings::purlin::platform::events::Event) -> wasmtime::Result<()> {
        let state = Bare { wasi: WasiCtxBuilder::new().build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, state);
        let plugin = self.pre.instantiate_async(&mut store).await?;
        let answer = plugin.purlin_platform_guest().call_on_event(&mut store, event).await?;
        answer.map_err(|_| wasmtime::Error::msg("the handler failed"))
    }
}

/// How many calls a second so many threads make, for a while.
fn rate<F, Fut>(threads: usize, call: F) -> f64
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
    let count = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..threads {
            let (call, count) = (call.clone(), Arc::clone(&count));
            tasks.spawn(async move {
                while began.elapsed() < ROUND {
                    for _ in 0..100 {
                        call().await;
                    }
                    count.fetch_add(100, Ordering::Relaxed);
                }
            });
        }
        tasks.join_all().await;
    });
    count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let paths: Vec<PathBuf> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).map(PathBuf::from).collect();
    let [component, host, cache] = paths.as_slice() else {
        println!("give a component, the host that compiles, and a folder for what is compiled");
        return;
    };
    let bytes = std::fs::read(component).unwrap_or_else(|error| panic!("{}: {error}", component.display()));
    let floor = Arc::new(Floor::new(&bytes).unwrap_or_else(|error| panic!("{error:#}")));
    let bare = Arc::new(bindings::purlin::platform::events::Event {
        id: Uuid::nil().to_string(),
        source: "/plugins/probe".to_owned(),
        type_: "probe.nodded".to_owned(),
        subject: None,
        time: "1970-01-01T00:00:00.000000Z".to_owned(),
        data_schema: None,
        data: "{}".to_owned(),
        actor: None,
        caused_by: None,
        depth: 0,
    });
    let config = Config {
        cache: cache.clone(),
        guests: GUESTS,
        compiler: Compiler { program: host.clone(), arguments: vec!["compile-component".to_owned()] },
    };
    let starter = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let starter = starter.unwrap_or_else(|error| panic!("{error}"));
    let runtime = Runtime::<Answers>::new(&config, Arc::new(SystemClock)).unwrap_or_else(|error| panic!("{error}"));
    let runtime = Arc::new(runtime);
    let digest = purlin_runtime::digest(&bytes);
    let fetch = async { Ok::<_, std::convert::Infallible>(bytes.clone()) };
    let prepared = starter.block_on(runtime.prepare(&digest, fetch)).unwrap_or_else(|error| panic!("{error}"));
    let again = Runtime::<Answers>::new(&config, Arc::new(SystemClock)).unwrap_or_else(|error| panic!("{error}"));
    let began = Instant::now();
    let nothing = async { Err::<Vec<u8>, _>("it is in the cache") };
    starter.block_on(again.prepare(&digest, nothing)).unwrap_or_else(|error| panic!("{error}"));
    println!("a cached component of {} bytes loads in {:.2} ms", bytes.len(), began.elapsed().as_secs_f64() * 1e3);
    for threads in [1, 2] {
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (floor, bare) = (Arc::clone(&floor), Arc::clone(&bare));
            floors.push(rate(threads, move || {
                let (floor, bare) = (Arc::clone(&floor), Arc::clone(&bare));
                async move { floor.call(&bare).await.unwrap_or_else(|error| panic!("{error:#}")) }
            }));
            let grants = Some(PermissionSet(vec![Permission::new("probe.notes", "*")]));
            let authority = Arc::new(Authority { user: None, scopes: None, grants, plan: PermissionSet::all() });
            let (runtime, prepared) = (Arc::clone(&runtime), Arc::clone(&prepared));
            ours.push(rate(threads, move || {
                let (runtime, prepared, authority) =
                    (Arc::clone(&runtime), Arc::clone(&prepared), Arc::clone(&authority));
                async move {
                    let call = Call::Event(Arc::new(event()));
                    let ended = runtime.invoke(&prepared, Answers(authority), call, GuestLimits::EVENT).await;
                    assert!(matches!(ended.outcome, Ok(Ok(Returned::Done(None)))), "{:?}", ended.outcome);
                    assert_eq!((ended.usage.host_calls, ended.log.len()), (2, 1));
                }
            }));
        }
        let (ours, floor) = (median(ours), median(floors));
        println!(
            "{threads} threads: {ours:.0} invocations/s ({:.1} µs of a thread), floor {floor:.0}/s ({:.1} µs): {:.2} × the floor",
            1e6 * threads as f64 / ours,
            1e6 * threads as f64 / floor,
            floor / ours
        );
    }
}
