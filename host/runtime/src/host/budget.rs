//! `budget`: what is left of every limit.

use std::time::Duration;

use super::Host;
use crate::{bindings::purlin::platform::budget as wit, state::State};

/// What is left of a limit, and what there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The limit by its name.
    pub limit: &'static str,
    /// What is left.
    pub left: u64,
    /// What there was at the beginning.
    pub total: u64,
}

impl Allowance {
    /// Of so many, so many are used.
    pub fn new(limit: &'static str, total: usize, used: usize) -> Self {
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self { limit, left: number(total.saturating_sub(used)), total: number(total) }
    }
}

/// What the platform answers.
pub trait Budget {
    /// What is left of the limits of the unit of work.
    fn allowances(&mut self) -> Vec<Allowance>;
}

impl<H: Host> wit::Host for State<H> {
    fn remaining(&mut self) -> wasmtime::Result<Vec<wit::Allowance>> {
        let gathered = self.call(0)?.allowances();
        let own = self.allowances();
        let told = own.into_iter().chain(gathered);
        Ok(told.map(|a| wit::Allowance { limit: a.limit.to_owned(), left: a.left, total: a.total }).collect())
    }
}

impl<H> State<H> {
    /// What is left of the limits of the guest code itself.
    fn allowances(&self) -> Vec<Allowance> {
        let time = |limit, total: Duration, used: Duration| {
            let ms = |d: Duration| usize::try_from(d.as_millis()).unwrap_or(usize::MAX);
            Allowance::new(limit, ms(total), ms(used))
        };
        let count = |n: u32| n as usize;
        vec![
            time("wall-ms", self.limits.wall, self.began.elapsed()),
            time("cpu-ms", self.limits.cpu, self.meter.used_now()),
            Allowance::new("memory-bytes", self.limits.memory_bytes, self.limiter.used()),
            Allowance::new("host-calls", count(self.limits.host_calls), count(self.host_calls())),
            Allowance::new("lifted-bytes", self.limits.lifted_bytes, self.lifted_bytes()),
            Allowance::new("log-bytes", self.limits.log_bytes, self.log.bytes()),
        ]
    }
}
