//! What the store of one invocation holds.

use std::{sync::Arc, time::Instant};

use purlin_domain::{
    Json,
    document::{self, NUL},
    error::{HostError, Violation},
    limits::{GuestLimits, Limit},
};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    error::{HostUnavailable, LimitMet},
    limiter::Limiter,
    log::Log,
    meter::Meter,
    wasi,
};

/// Handles to host resources that one guest may hold.
const HANDLES_MAX: usize = 1_000;

/// The state of one invocation.
pub(crate) struct State<H> {
    /// Who answers the guest's calls; none while a component describes itself.
    host: Option<H>,
    wasi: WasiCtx,
    table: ResourceTable,
    host_calls: u32,
    /// Bytes the guest passed in over all calls.
    lifted_bytes: usize,
    pub(crate) began: Instant,
    pub(crate) limits: GuestLimits,
    pub(crate) limiter: Limiter,
    pub(crate) meter: Arc<Meter>,
    pub(crate) log: Log,
}

impl<H> State<H> {
    pub(crate) fn new(host: Option<H>, limits: GuestLimits, log: Log) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            host,
            wasi: wasi::context(&log),
            table,
            host_calls: 0,
            lifted_bytes: 0,
            began: Instant::now(),
            limits,
            limiter: Limiter::new(limits.memory_bytes),
            meter: Arc::default(),
            log,
        }
    }

    /// Every call of the guest passes here, with the bytes of what it passed in: counted, and
    /// answered only while imports are open.
    pub(crate) fn call(&mut self, lifted: usize) -> wasmtime::Result<&mut H> {
        self.count_call(lifted)?;
        self.host
            .as_mut()
            .ok_or_else(|| HostUnavailable("imports are closed while a component describes itself".to_owned()).into())
    }

    pub(crate) fn count_call(&mut self, lifted: usize) -> wasmtime::Result<()> {
        self.host_calls += 1;
        self.lifted_bytes += lifted;
        if self.host_calls > self.limits.host_calls {
            return Err(LimitMet(Limit::HostCalls).into());
        }
        if self.lifted_bytes > self.limits.lifted_bytes {
            return Err(LimitMet(Limit::LiftedBytes).into());
        }
        Ok(())
    }

    pub(crate) fn host_calls(&self) -> u32 {
        self.host_calls
    }

    pub(crate) fn lifted_bytes(&self) -> usize {
        self.lifted_bytes
    }

    pub(crate) fn into_host(self) -> Option<H> {
        self.host
    }
}

impl<H: Send> WasiView for State<H> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// JSON that a guest passed in.
pub(crate) fn json(pointer: &str, text: &str) -> Result<Json, HostError> {
    document::read(text.as_bytes())
        .map_err(|v| HostError::Invalid(vec![Violation { pointer: format!("{pointer}{}", v.pointer), ..v }]))
}

/// The bytes of text that a guest may have passed in.
pub(crate) fn len(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

/// Text that a guest passed in, to be stored as it is.
pub(crate) fn plain(pointer: &str, text: Option<String>) -> Result<Option<String>, HostError> {
    match text {
        Some(text) if text.contains('\0') => Err(HostError::invalid(pointer, "value", NUL)),
        other => Ok(other),
    }
}

/// An id that a guest passed in. One that is none names nothing.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, HostError> {
    text.parse().map_err(|_| HostError::NotFound)
}
