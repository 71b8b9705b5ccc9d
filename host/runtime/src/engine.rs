//! The wasmtime engine: what guests may use, and how their memory is pooled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use purlin_domain::limits::GuestLimits;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::error::RuntimeError;

/// How often a running guest is interrupted to be looked at.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Core instances, memories and tables that one component may have.
const CORE_INSTANCES_MAX: u32 = 20;
const MEMORIES_MAX: u32 = 4;
const TABLES_MAX: u32 = 20;
/// Memory kept from call to call, so that a fresh instance touches no memory map.
const KEEP_RESIDENT: usize = 2 << 20;
/// The same of the stack that a call runs on: what most calls need of it. It is cleared after each
/// call, whether it was needed or not.
const STACK_KEEP_RESIDENT: usize = 48 << 10;
/// What is beyond is given back to the system for so many calls at once: each time, all cores that
/// run guests are interrupted.
const GIVEN_BACK_AT_ONCE: usize = 16;

/// An engine with room for this many guests at a time. The same for the host and for
/// the process that compiles, so that artifacts fit.
pub(crate) fn build(guests: u32) -> Result<Engine, RuntimeError> {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(guests)
        .total_core_instances(guests * CORE_INSTANCES_MAX)
        .total_memories(guests * MEMORIES_MAX)
        .total_tables(guests * TABLES_MAX)
        .total_stacks(guests)
        .total_gc_heaps(0)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_memory_size(GuestLimits::EVENT.memory_bytes)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT)
        .decommit_batch_size(GIVEN_BACK_AT_ONCE)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .async_stack_zeroing(true)
        .concurrency_support(false)
        .wasm_component_model(true)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16))
        .cranelift_opt_level(wasmtime::OptLevel::Speed);
    Engine::new(&config).map_err(RuntimeError::failed)
}

/// Counts the engine's epochs up until dropped.
pub(crate) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> Result<Self, RuntimeError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, stopped) = (engine.weak(), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => break,
                    }
                }
            })
            .map_err(RuntimeError::failed)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within a tick; a panic in it was already printed.
            drop(thread.join());
        }
    }
}
