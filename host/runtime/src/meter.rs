//! CPU time of one invocation: the thread's own clock, counted only while the guest or
//! a host call of it is being polled.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Adds up CPU time over the polls of one future.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    used_ns: AtomicU64,
    /// The thread's CPU clock when the present poll began. Only read on the polling thread.
    poll_began_ns: AtomicU64,
}

impl Meter {
    /// CPU time so far. Called on the thread that polls.
    pub(crate) fn used_now(&self) -> Duration {
        let poll = thread_ns().saturating_sub(self.poll_began_ns.load(Ordering::Relaxed));
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed).saturating_add(poll))
    }

    /// CPU time of the polls that ended.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// A future whose polls are metered.
pub(crate) struct Metered<F> {
    future: Pin<Box<F>>,
    meter: Arc<Meter>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(meter: Arc<Meter>, future: F) -> Self {
        Self { future: Box::pin(future), meter }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let began = thread_ns();
        self.meter.poll_began_ns.store(began, Ordering::Relaxed);
        let polled = self.future.as_mut().poll(cx);
        self.meter.used_ns.fetch_add(thread_ns().saturating_sub(began), Ordering::Relaxed);
        polled
    }
}
