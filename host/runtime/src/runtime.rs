//! The runtime: the engine, what is compiled, and who may run.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use purlin_domain::clock::Clock;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use wasmtime::{
    Engine,
    component::{Component, HasSelf, Linker},
};

use crate::{
    bindings::{Plugin, PluginPre},
    cache::Cache,
    compile::Compiler,
    engine::{self, Ticker},
    error::RuntimeError,
    host::Host,
    state::State,
};

/// Compiled components kept in memory at most.
const PREPARED_MAX: usize = 1_000;

/// Checks of writes that run at the same time, as a part of the guests that do.
const CHECKS_PART: u32 = 4;

/// How the runtime is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where compiled components are kept.
    pub cache: PathBuf,
    /// Guests that run at the same time; a quarter more may check what these write.
    pub guests: u32,
    /// What compiles.
    pub compiler: Compiler,
}

/// A compiled component, linked and ready to be instantiated.
pub struct Prepared<H: 'static> {
    pub(crate) pre: PluginPre<State<H>>,
}

/// Runs components whose calls are answered by `H`.
pub struct Runtime<H: 'static> {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State<H>>,
    pub(crate) slots: Semaphore,
    /// For guests that check what others write.
    pub(crate) check_slots: Semaphore,
    pub(crate) clock: Arc<dyn Clock>,
    cache: Cache,
    compiler: Compiler,
    prepared: Mutex<HashMap<String, Arc<Prepared<H>>>>,
    /// One compilation at a time: it takes every core as it is.
    compiling: AsyncMutex<()>,
    _ticker: Ticker,
}

impl<H: Host> Runtime<H> {
    /// Set up the engine and open the cache.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, RuntimeError> {
        let checks = config.guests.div_ceil(CHECKS_PART);
        let engine = engine::build(config.guests + checks)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(RuntimeError::failed)?;
        Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State<H>| state)
            .map_err(RuntimeError::failed)?;
        Ok(Self {
            cache: Cache::open(&config.cache, &engine)?,
            slots: Semaphore::new(config.guests as usize),
            check_slots: Semaphore::new(checks as usize),
            compiler: config.compiler.clone(),
            prepared: Mutex::default(),
            compiling: AsyncMutex::default(),
            _ticker: Ticker::start(&engine)?,
            linker,
            engine,
            clock,
        })
    }

    /// The component of this digest, ready to run: from memory, from disk, or fetched and
    /// compiled once.
    pub async fn prepare<E: std::fmt::Display>(
        &self,
        digest: &str,
        fetch: impl Future<Output = Result<Vec<u8>, E>>,
    ) -> Result<Arc<Prepared<H>>, RuntimeError> {
        if let Some(prepared) = self.known(digest) {
            return Ok(prepared);
        }
        let _turn = self.compiling.lock().await;
        if let Some(prepared) = self.known(digest) {
            return Ok(prepared);
        }
        let component = match self.cache.load(&self.engine, digest)? {
            Some(component) => component,
            None => self.compile(digest, &fetch.await.map_err(RuntimeError::failed)?).await?,
        };
        self.link(digest, &component)
    }

    /// A component that was just uploaded, compiled: unless its bytes were seen before.
    pub(crate) async fn compiled(&self, digest: &str, component: &[u8]) -> Result<Component, RuntimeError> {
        let _turn = self.compiling.lock().await;
        match self.cache.load(&self.engine, digest)? {
            Some(component) => Ok(component),
            None => self.compile(digest, component).await,
        }
    }

    /// Compile a component and keep the artifact. One at a time.
    async fn compile(&self, digest: &str, component: &[u8]) -> Result<Component, RuntimeError> {
        let artifact = self.compiler.run(component).await?;
        self.cache.store(&self.engine, digest, &artifact)
    }

    /// Link a compiled component and remember it.
    pub(crate) fn link(&self, digest: &str, component: &Component) -> Result<Arc<Prepared<H>>, RuntimeError> {
        let pre = self.linker.instantiate_pre(component).and_then(PluginPre::new);
        let prepared =
            Arc::new(Prepared { pre: pre.map_err(|error| RuntimeError::refused("world", format!("{error:#}")))? });
        let mut known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PREPARED_MAX {
            known.clear();
        }
        known.insert(digest.to_owned(), Arc::clone(&prepared));
        Ok(prepared)
    }

    fn known(&self, digest: &str) -> Option<Arc<Prepared<H>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }
}
